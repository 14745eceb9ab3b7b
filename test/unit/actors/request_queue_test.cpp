#include <ganglion/actors/batcher/request_queue.hpp>

#include <support/doctest.hpp>
#include <support/requests.hpp>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

struct queue_fixture {
  std::shared_ptr<const deployment> target = deployment_of_batch(4, 1, {0, 1});
  request_queue queue;
  clock::time_point now;

  explicit queue_fixture(queue_config config = {4, 10ms}) : queue(config) {}

  request_ptr push(std::int64_t rows, request_options options = {}, std::optional<std::int64_t> split = {}) {
    auto r = make_request(target, rows, std::make_shared<admission>(), 0, std::move(options));
    r.value->plan(true, split);
    queue.push(r.value, now);
    return r.value;
  }
  /// Rows that go with those alone which have the same value beside them.
  request_ptr push_keyed(std::int64_t rows, std::int64_t value, priority p = priority::normal) {
    request_options options;
    options.priority = p;
    auto r = make_request(target, rows, std::make_shared<admission>(), 0, std::move(options), 0, {value});
    r.value->plan(true, {});
    queue.push(r.value, now);
    return r.value;
  }
  request_ptr push(std::int64_t rows, std::string tenant, priority p = priority::normal) {
    request_options options;
    options.tenant = std::move(tenant);
    options.priority = p;
    return push(rows, std::move(options));
  }
  request_ptr push(std::int64_t rows, priority p) { return push(rows, "", p); }
  /// The most urgent class of which something waits.
  priority most_urgent() const {
    auto result = queue.front_class().value_or(priority::low);
    for (auto p : {priority::low, priority::normal, priority::high})
      if (queue.any_begun(p)) result = std::min(result, p);
    return result;
  }
  /// The most urgent of what was begun, and none that is less urgent than the front.
  std::optional<std::pair<batch, std::size_t>> take_again(
      const std::function<std::optional<std::size_t>(const batch&)>& accept) {
    for (auto p : {priority::high, priority::normal, priority::low}) {
      if (queue.front_class() < p && queue.front_class()) break;
      if (auto found = queue.take_again(p, accept)) return found;
    }
    return std::nullopt;
  }
};

request_options of(priority p) {
  request_options options;
  options.priority = p;
  return options;
}

struct rows_of_one {
  request_ptr owner;
  std::int64_t first, rows;
};

void expect_pieces(const batch& b, const std::vector<rows_of_one>& wanted) {
  REQUIRE(b.pieces.size() == wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    NOTE("piece " << i);
    EXPECT(b.pieces[i].owner == wanted[i].owner);
    EXPECT(b.pieces[i].first_row == wanted[i].first);
    EXPECT(b.pieces[i].rows == wanted[i].rows);
  }
}

std::optional<std::size_t> core_zero(const batch& b) {
  return b.bound.value_or(0) == 0 ? std::optional<std::size_t>{0} : std::nullopt;
}

}  // namespace

TEST_CASE("rows are joined in order of arrival, and a request that does not fit is split") {
  queue_fixture f;
  EXPECT(f.queue.empty());
  auto a = f.push(3), b = f.push(6), c = f.push(1);
  EXPECT(f.queue.rows() == 10);
  expect_pieces(f.queue.take_joined(4), {{a, 0, 3}, {b, 0, 1}});
  expect_pieces(f.queue.take_joined(4), {{b, 1, 4}});
  EXPECT(f.queue.front() == b);
  expect_pieces(f.queue.take_joined(4), {{b, 5, 1}, {c, 0, 1}});
  EXPECT(f.queue.empty());
  EXPECT(f.queue.front() == nullptr);
}

TEST_CASE("urgent classes go first, and the others fill what is left") {
  queue_fixture f;
  auto low = f.push(3, priority::low), normal = f.push(2, priority::normal), high = f.push(1, priority::high);
  EXPECT(f.most_urgent() == priority::high);
  EXPECT(f.queue.rows_up_to(priority::high) == 1);
  EXPECT(f.queue.rows_up_to(priority::normal) == 3);
  EXPECT(f.queue.count_joinable(10).of_its_class == 1);
  EXPECT(f.queue.count_joinable(10).of_all == 6);
  EXPECT(f.queue.count_joinable(4).of_all == 4);
  expect_pieces(f.queue.take_joined(4), {{high, 0, 1}, {normal, 0, 2}, {low, 0, 1}});
  EXPECT(f.most_urgent() == priority::low);
  expect_pieces(f.queue.take_joined(4), {{low, 1, 2}});
}

TEST_CASE("what waits for long rises by a class, and one more after as long again") {
  queue_fixture f;
  auto low = f.push(1, priority::low);
  f.now += 9ms;
  f.queue.age(f.now);
  EXPECT(f.most_urgent() == priority::low);
  f.now += 1ms;
  f.queue.age(f.now);
  EXPECT(f.most_urgent() == priority::normal);
  auto normal = f.push(1, priority::normal);
  EXPECT(f.queue.front() == low);
  f.now += 10ms;
  auto high = f.push(1, priority::high);
  f.queue.age(f.now);
  EXPECT(f.most_urgent() == priority::high);
  EXPECT(f.queue.rows_up_to(priority::high) == 3);
  // Of one tenant by arrival, also among those that rose.
  expect_pieces(f.queue.take_joined(4), {{low, 0, 1}, {normal, 0, 1}, {high, 0, 1}});
  EXPECT(f.queue.empty());
}

TEST_CASE("what rises stands among what came before and after it, of its tenant, by arrival") {
  queue_fixture f;
  auto first = f.push(1, priority::normal);
  f.now += 1ms;
  auto low = f.push(1, priority::low), also_low = f.push(1, priority::low);
  f.now += 1ms;
  auto after = f.push(1, priority::normal);
  f.now += 9ms;  // the first of all rises to high now, and what was low to normal
  f.queue.age(f.now);
  auto late = f.push(1, priority::normal);
  EXPECT(f.queue.rows_up_to(priority::high) == 1);
  EXPECT(f.queue.rows_up_to(priority::normal) == 5);
  expect_pieces(f.queue.take_joined(5), {{first, 0, 1}, {low, 0, 1}, {also_low, 0, 1}, {after, 0, 1}, {late, 0, 1}});
}

TEST_CASE("without ageing nothing rises") {
  queue_fixture f{{4, 0ms}};
  f.push(1, priority::low);
  f.queue.age(f.now + 24h);
  EXPECT(f.most_urgent() == priority::low);
}

TEST_CASE("tenants take turns in rows, whatever they send and in whatever pieces") {
  queue_fixture f;
  for (int i = 0; i < 100; ++i) f.push(1, "many small");
  f.push(100, "one large");
  for (int i = 0; i < 10; ++i) f.push(10, "some");
  std::map<std::string, std::int64_t> rows;
  for (int i = 0; i < 60; ++i)
    for (const auto& p : f.queue.take_joined(4).pieces) rows[p.owner->options().tenant] += p.rows;
  for (const auto& [name, count] : rows) {
    NOTE(name);
    EXPECT(count >= 80 - 4);
    EXPECT(count <= 80 + 4);
  }
}

TEST_CASE("tenants take turns in rows also where their chunks join nobody, however large") {
  queue_fixture f;
  auto push = [&f](std::int64_t rows, const char* tenant) {
    request_options options;
    options.tenant = tenant;
    f.push(rows, std::move(options), 50);
  };
  for (int i = 0; i < 200; ++i) push(1, "small");
  for (int i = 0; i < 10; ++i) push(50, "large");
  std::map<std::string, std::int64_t> rows;
  while (rows["small"] < 150) {
    const auto taken = f.queue.take_chunk(0);
    const auto& owner = *taken.pieces.front().owner;
    rows[owner.options().tenant] += owner.rows();
    EXPECT(std::abs(rows["small"] - rows["large"]) <= 50 + 4);
    while (f.take_again([](const batch&) { return std::optional<std::size_t>{0}; })) continue;  // the rest of it
  }
}

TEST_CASE("a tenant whose chunks join nobody keeps its turn while the rows of others go together") {
  queue_fixture f;
  std::map<std::string, std::int64_t> rows;
  auto count = [&rows](const batch& taken) {
    for (const auto& p : taken.pieces) rows[p.owner->options().tenant] += p.rows;
  };
  request_options options;
  options.tenant = "chunks";
  f.push(1, "now and then");
  f.push(200, options, 4);
  f.push(200, "much");
  for (int i = 0; i < 40; ++i) {
    if (f.queue.front()->joinable())
      count(f.queue.take_joined(4));
    else
      count(f.queue.take_chunk(0));
    f.push(1, "now and then");
  }
  EXPECT(std::abs(rows["chunks"] - rows["much"]) <= 2 * 4);
}

TEST_CASE("a tenant that has less than its turn leaves the rest to the others, and earns nothing by waiting") {
  queue_fixture f;
  auto a = f.push(1, "a"), b = f.push(9, "b");
  expect_pieces(f.queue.take_joined(4), {{a, 0, 1}, {b, 0, 3}});
  auto late = f.push(8, "a");
  expect_pieces(f.queue.take_joined(4), {{b, 3, 1}, {late, 0, 3}});
}

TEST_CASE("only what goes with the first row joins it: equal values beside the rows") {
  auto model = trace(test_modules::scripted("def forward(self, x, k: int):\n  return x + k\n"), {at::zeros({4, 2}), 1},
                     {auto_cast::none, false});
  auto target = deployment_of(model, 1, {0});
  request_queue queue{{4, 0ms}};
  auto push = [&](std::int64_t rows, std::int64_t k) {
    auto r = request::admit(request::next_id(), target, {{numbered_rows(rows), k}, rows}, std::make_shared<admission>(),
                            {});
    (*r)->plan(true, {});
    queue.push(*r, {});
    return *r;
  };
  auto a = push(1, 1), b = push(1, 2), c = push(2, 1), d = push(3, 2);
  EXPECT(queue.count_joinable(4).of_all == 3);
  expect_pieces(queue.take_joined(4), {{a, 0, 1}, {c, 0, 2}});
  expect_pieces(queue.take_joined(4), {{b, 0, 1}, {d, 0, 3}});
  EXPECT(queue.empty());
}

TEST_CASE("a request with chunks of its own joins nobody, and the rest of a large chunk stays on its core") {
  queue_fixture f;
  auto a = f.push(10, {}, 10), b = f.push(4);
  EXPECT_FALSE(a->joinable());
  EXPECT(f.queue.count_joinable(4).of_all == 4);  // b's, were it the front
  expect_pieces(f.queue.take_chunk(1), {{a, 0, 4}});
  EXPECT(f.queue.front() == b);
  EXPECT_FALSE(f.take_again(core_zero));
  auto taken = f.take_again([](const batch&) { return std::optional<std::size_t>{1}; });
  REQUIRE(taken);
  EXPECT(taken->first.bound == 1u);
  expect_pieces(taken->first, {{a, 4, 4}});
  f.queue.unbind(0);
  EXPECT_FALSE(f.take_again(core_zero));
  f.queue.unbind(1);
  taken = f.take_again(core_zero);
  REQUIRE(taken);
  expect_pieces(taken->first, {{a, 8, 2}});
  expect_pieces(f.queue.take_joined(4), {{b, 0, 4}});
  EXPECT(f.queue.empty());
}

TEST_CASE("the rest of a chunk goes before its own class and behind the more urgent, and rises like what waits") {
  queue_fixture f;
  auto chunk = f.push(16, of(priority::low), 16);
  f.queue.take_chunk(0);
  EXPECT(f.most_urgent() == priority::low);
  EXPECT(f.queue.rows_begun(priority::normal) == 0);
  EXPECT(f.queue.rows_begun(priority::low) == 12);
  EXPECT(f.queue.rows_before(priority::normal, "") == 0);
  auto low = f.push(1, priority::low), normal = f.push(4, priority::normal);
  EXPECT(f.most_urgent() == priority::normal);
  EXPECT_FALSE(f.take_again(core_zero));
  expect_pieces(f.queue.take_joined(4), {{normal, 0, 4}});
  auto taken = f.take_again(core_zero);
  REQUIRE(taken);
  expect_pieces(taken->first, {{chunk, 4, 4}});
  f.now += 10ms;  // what is left is of the class `normal` from now on
  f.queue.age(f.now - 1ns);
  EXPECT(f.most_urgent() == priority::low);
  f.queue.age(f.now);
  EXPECT(f.most_urgent() == priority::normal);
  f.push(4, priority::normal);
  taken = f.take_again(core_zero);
  REQUIRE(taken);
  expect_pieces(taken->first, {{chunk, 8, 4}});
  f.push(4, priority::high);
  EXPECT_FALSE(f.take_again(core_zero));
}

TEST_CASE("what runs again is as urgent as the most urgent of it") {
  queue_fixture f;
  auto low = f.push(2, priority::low), normal = f.push(2, priority::normal);
  f.queue.take_joined(4);
  auto &a = low->add_slot(0, 2, 0), &b = normal->add_slot(0, 2, 0);
  f.queue.push_again({{{low, 0, 2, 0, &a}}, {}, {}, {}});
  f.queue.push_again({{{low, 0, 2, 0, &a}, {normal, 0, 2, 0, &b}}, {}, {}, {}});
  EXPECT(f.most_urgent() == priority::normal);
  auto taken = f.take_again(core_zero);
  REQUIRE(taken);
  EXPECT(taken->first.pieces.size() == 2);
  EXPECT(f.most_urgent() == priority::low);
  f.push(1, priority::high);
  EXPECT_FALSE(f.take_again(core_zero));
}

TEST_CASE("what runs again goes together, and first") {
  queue_fixture f;
  auto a = f.push(4), b = f.push(1);
  auto &first = a->add_slot(0, 2, 0), &second = a->add_slot(2, 2, 1);
  f.queue.push_again({{{a, 0, 2, 0, &first, true}, {a, 2, 2, 1, &second, true}}, {}, {}, 1});
  EXPECT(f.most_urgent() == priority::normal);
  auto taken = f.take_again(core_zero);
  REQUIRE(taken);
  EXPECT(taken->first.avoid == 1u);
  EXPECT(taken->first.rows() == 4);
  EXPECT(taken->first.pieces[1].where == &second);
}

TEST_CASE("what is withdrawn waits nowhere any more") {
  queue_fixture f;
  auto a = f.push(30, {}, 10), b = f.push(5, "b"), c = f.push(1, priority::low);
  f.queue.take_chunk(0);
  auto& where = a->add_slot(0, 4, 0);
  f.queue.push_again({{{a, 0, 4, 0, &where, true}}, {}, {}, 1});
  f.queue.withdraw(a);
  EXPECT(f.queue.rows() == 6);
  EXPECT_FALSE(f.take_again([](const batch&) { return std::optional<std::size_t>{0}; }));
  f.queue.withdraw(c);
  f.queue.withdraw(c);
  f.queue.age(f.now + 24h);
  EXPECT(f.queue.oldest() == f.now);
  expect_pieces(f.queue.take_joined(8), {{b, 0, 5}});
  EXPECT(f.queue.empty());
}

// -- keys -------------------------------------------------------------------------------------------------------------

TEST_CASE("rows with different values beside them are counted and taken apart") {
  queue_fixture f;
  auto a = f.push_keyed(1, 1), b = f.push_keyed(2, 2), c = f.push_keyed(1, 1), d = f.push_keyed(1, 1, priority::low);
  auto plain = f.push(3);
  EXPECT(f.queue.count_joinable(4).of_its_class == 2);
  EXPECT(f.queue.count_joinable(4).of_all == 3);
  expect_pieces(f.queue.take_joined(4), {{a, 0, 1}, {c, 0, 1}, {d, 0, 1}});
  EXPECT(f.queue.count_joinable(4).of_all == 2);
  expect_pieces(f.queue.take_joined(4), {{b, 0, 2}});
  EXPECT(f.queue.count_joinable(4).of_all == 3);
  expect_pieces(f.queue.take_joined(4), {{plain, 0, 3}});
  EXPECT(f.queue.empty());
}

TEST_CASE("what rises in class is counted there, also by its key") {
  queue_fixture f;
  auto a = f.push_keyed(2, 1, priority::low);
  f.now += 5ms;
  auto b = f.push_keyed(1, 1, priority::normal);
  EXPECT(f.queue.count_joinable(4).of_its_class == 1);
  f.queue.age(f.now + 5ms);
  EXPECT(f.queue.count_joinable(4).of_its_class == 3);
  expect_pieces(f.queue.take_joined(4), {{a, 0, 2}, {b, 0, 1}});
}

TEST_CASE("others could go where they are a batch by themselves or join nobody") {
  queue_fixture f;
  f.push_keyed(1, 1);
  EXPECT_FALSE(f.queue.others_could_go());
  f.push_keyed(3, 1);
  EXPECT_FALSE(f.queue.others_could_go());  // its own
  f.push(3);
  f.push_keyed(3, 2);
  EXPECT_FALSE(f.queue.others_could_go());
  SUBCASE("plain rows") { f.push(1); }
  SUBCASE("rows of another key") { f.push_keyed(1, 2); }
  SUBCASE("a request that joins nobody") { f.push(1, request_options{}, 1); }
  EXPECT(f.queue.others_could_go());
}

TEST_CASE("what is withdrawn is no longer counted with its key") {
  queue_fixture f;
  auto a = f.push_keyed(1, 1), b = f.push_keyed(4, 2);
  EXPECT(f.queue.others_could_go());
  f.queue.withdraw(b);
  EXPECT_FALSE(f.queue.others_could_go());
  f.queue.withdraw(a);
  EXPECT(f.queue.empty());
}

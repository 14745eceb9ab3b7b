#include "formation_fixture.hpp"

#include <support/errors.hpp>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

/// One core of one execution, which a full batch keeps busy until `finish(0)`.
struct busy_fixture : formation_fixture {
  std::shared_ptr<const deployment> d;
  sent_request first;

  explicit busy_fixture(std::int64_t batch = 4, coalescing_options options = {}) : formation_fixture({2, 0, 2}) {
    d = add(1, batch, {0}, {}, options);
    queue.core_up(0);
    first = enqueue(d, batch);
    REQUIRE(pump() == 1);
  }
  /// Ends what runs. Returns what each of `requests` has in the next execution, as `number:rows`.
  std::string next(const std::vector<sent_request>& requests) {
    finish(0);
    pump();
    if (held[0].empty()) return "nothing";
    std::vector<std::uint64_t> ids;
    for (const auto& r : requests) ids.push_back(r.id);
    return contents(*held[0].front(), ids);
  }
};

request_options of(priority p, std::string tenant = "") {
  request_options options;
  options.priority = p;
  options.tenant = std::move(tenant);
  return options;
}

}  // namespace

TEST_CASE("what waits when a core becomes free goes together, each with its own rows") {
  busy_fixture f;
  std::vector<sent_request> all{f.enqueue(f.d, 1), f.enqueue(f.d, 2), f.enqueue(f.d, 1)};
  EXPECT(f.next(all) == "0:1 1:2 2:1");
  EXPECT(f.held[0].front()->padding_rows() == 0);
  f.run_all();
  for (std::size_t i = 0; i < all.size(); ++i) expect_answered(all[i], i == 1 ? 2 : 1);
  f.expect_all_gone();
}

TEST_CASE("a batch that is not full is not bound to a core that is busy, so that what comes meanwhile joins it") {
  busy_fixture f;
  auto a = f.enqueue(f.d, 1);
  EXPECT(f.pump() == 0);
  auto b = f.enqueue(f.d, 2);
  EXPECT(f.pump() == 0);
  auto c = f.enqueue(f.d, 3);
  EXPECT(f.pump() == 1);  // full: it waits at the core
  EXPECT(f.next({a, b, c}) == "0:1 1:2 2:1");
  f.run_all();
  expect_answered(c, 3);
  f.expect_all_gone();
}

TEST_CASE("a larger request fills the open batch first, and its rows stay in order") {
  busy_fixture f;
  std::vector<sent_request> all{f.enqueue(f.d, 3), f.enqueue(f.d, 10)};
  EXPECT(f.next(all) == "0:3 1:1");
  EXPECT(f.next(all) == "1:4");
  EXPECT(f.next(all) == "1:4");
  EXPECT(f.next(all) == "1:1");
  EXPECT(f.held[0].front()->padding_rows() == 3);
  f.run_all();
  expect_answered(all[1], 10);
}

TEST_CASE("what one deployment keeps a core busy with does not hold back a small batch of another") {
  formation_fixture f{{2, 0, 2}};
  auto a = f.add(1, 4, {0}), b = f.add(2, 4, {0});
  for (std::uint64_t id : {1, 2}) f.queue.expect_seconds(id, 0, 1e-3);
  f.queue.core_up(0);
  f.enqueue(a, 400);
  f.pump();
  auto small = f.enqueue(b, 1);
  for (int i = 0; i < 2; ++i) {
    f.finish(0);
    f.pump();
  }
  EXPECT(f.held[0].back()->deployment_id == 2);
  f.run_all();
  expect_answered(small, 1);
}

// -- waiting for more -------------------------------------------------------------------------------------------------

TEST_CASE("with a delay a batch that is not full waits for its oldest row as long as that, and no tick longer") {
  formation_fixture f{{2, 0, 2}};
  auto d = f.add(1, 4, {0}, {}, {.max_queue_delay = 10ms});
  f.queue.core_up(0);
  auto a = f.enqueue(d, 1);
  EXPECT(f.pump() == 0);
  REQUIRE(f.queue.due());
  EXPECT(*f.queue.due() == f.now + 10ms);
  EXPECT(f.wait(6ms) == 0);
  auto b = f.enqueue(d, 1);
  EXPECT(f.wait(4ms - 1ns) == 0);
  EXPECT(f.wait(1ns) == 1);
  EXPECT(f.held[0].front()->rows() == 2);
  EXPECT_FALSE(f.queue.due());
  f.run_all();
  expect_answered(a, 1);
  expect_answered(b, 1);
}

TEST_CASE("with a delay a full batch goes at once") {
  formation_fixture f{{2, 0, 2}};
  auto d = f.add(1, 4, {0}, {}, {.max_queue_delay = 1h});
  f.queue.core_up(0);
  f.enqueue(d, 3);
  EXPECT(f.pump() == 0);
  f.enqueue(d, 2);
  EXPECT(f.pump() == 1);
  EXPECT(f.pump() == 0);  // the fifth row waits
  EXPECT(f.wait(1h) == 0);
  f.finish(0);
  EXPECT(f.pump() == 1);
  f.run_all();
  f.expect_all_gone();
}

TEST_CASE("a deployment that is closed waits for nobody") {
  formation_fixture f;
  auto d = f.add(1, 4, {0}, {}, {.max_queue_delay = 1h});
  f.queue.core_up(0);
  auto r = f.enqueue(d, 1);
  EXPECT(f.pump() == 0);
  f.queue.close(1);
  f.run_all();
  expect_answered(r, 1);
}

TEST_CASE("once admission is closed nobody waits for rows that would fill a batch, whether they wait or come then") {
  formation_fixture f;
  auto d = f.add(1, 4, {0}, {}, {.max_queue_delay = 1h});
  f.queue.core_up(0);
  auto before = f.enqueue(d, 1);
  EXPECT(f.pump() == 0);
  f.queue.close_admission();
  EXPECT(f.pump() == 1);
  f.finish(0);
  expect_answered(before, 1);
  auto on_its_way = f.enqueue(d, 1);
  EXPECT(f.pump() == 1);
  f.finish(0);
  expect_answered(on_its_way, 1);
}

// -- classes and tenants ----------------------------------------------------------------------------------------------

TEST_CASE("urgent rows go first, the less urgent fill what would be padding") {
  busy_fixture f;
  std::vector<sent_request> all{f.enqueue(f.d, 5, of(priority::low)), f.enqueue(f.d, 2, of(priority::normal)),
                                f.enqueue(f.d, 1, of(priority::high))};
  // Four of them are full and wait at the core, as its second execution.
  EXPECT(f.next(all) == "2:1 1:2 0:1");
  f.run_all();
  expect_answered(all[0], 5);
}

TEST_CASE("an urgent request that comes later overtakes what is not bound yet") {
  busy_fixture f;
  auto low = f.enqueue(f.d, 40, of(priority::low));
  auto high = f.enqueue(f.d, 4, of(priority::high));
  f.pump();
  EXPECT(f.contents(*f.held[0].back(), {low.id, high.id}) == "1:4");
  f.run_all();
}

TEST_CASE("what waits for long is served although more urgent work never ends") {
  busy_fixture f{4, {.ageing = 100ms}};
  auto patient = f.enqueue(f.d, 1, of(priority::low));
  int executions = 0;
  while (patient.got->all.empty() && executions < 1'000) {
    f.enqueue(f.d, 4, of(priority::high));
    f.wait(10ms);
    f.finish(0);
    ++executions;
  }
  // After 200 ms it is of the most urgent class, and then takes its turn behind those that were before it.
  EXPECT(executions >= 20);
  EXPECT(executions <= 25);
  f.run_all();
}

TEST_CASE("a more urgent request of one deployment goes before those of another") {
  formation_fixture f{{1, 0, 1}};
  auto a = f.add(1, 1, {0}), b = f.add(2, 1, {0});
  f.queue.core_up(0);
  f.enqueue(a, 10);
  f.pump();
  auto urgent = f.enqueue(b, 3, of(priority::high));
  for (int i = 0; i < 3; ++i) {
    f.finish(0);
    f.pump();
    EXPECT(f.held[0].front()->deployment_id == 2);
  }
  f.run_all();
  expect_answered(urgent, 3);
}

TEST_CASE("nothing less urgent is put in front of a row that waits for a core at work, of another model or other sizes") {
  formation_fixture f;  // with a credit for one execution that waits at the core
  auto d = deployment_of_buckets({{4}, {4}}, 1, {0});
  f.queue.add(d, {});
  auto other = f.add(2, 4, {0});
  f.queue.core_up(0);
  auto send = [&](std::size_t bucket, priority p) {
    auto r = make_request(d, 1, f.gate, 0, of(p), bucket);
    r.value->plan(true, {});
    f.queue.enqueue(std::exchange(r.value, nullptr), f.now);
    return r;
  };
  auto first = send(0, priority::high);
  EXPECT(f.pump() == 1);
  auto second = send(0, priority::high);  // waits for more rows, until the first has run
  EXPECT(f.pump() == 0);
  f.enqueue(other, 40, of(priority::low));
  send(1, priority::normal);
  EXPECT(f.pump() == 0);
  f.finish(0);
  // What is most urgent goes first, and the credit that is left to the next of them.
  EXPECT(f.pump() == 2);
  EXPECT(f.held[0][0]->parts.front().owner->id() == second.id);
  EXPECT(f.held[0][1]->parts.front().owner->bucket() == 1);
  f.run_all();
  expect_answered(first, 1);
  expect_answered(second, 1);
}

TEST_CASE("the rest of a chunk goes behind more urgent requests, of its own deployment and of others") {
  formation_fixture f{{1, 0, 1}};
  auto a = f.add(1, 4, {0}), b = f.add(2, 4, {0});
  f.queue.core_up(0);
  auto chunk = f.enqueue(a, 40, of(priority::low), 40);
  f.pump();
  auto other = f.enqueue(b, 4, of(priority::normal)), own = f.enqueue(a, 4, of(priority::high));
  std::string order;
  for (int i = 0; i < 4; ++i) {
    order += f.contents(*f.held[0].front(), {chunk.id, other.id, own.id}) + " ";
    f.finish(0);
    f.pump();
  }
  EXPECT(order == "0:4 2:4 1:4 0:4 ");
  f.run_all();
  expect_answered(chunk, 40);
}

TEST_CASE("the rest of a chunk is served in the end although more urgent work never ends") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0}, {}, {.ageing = 100ms});
  f.queue.core_up(0);
  auto chunk = f.enqueue(d, 8, of(priority::low), 8);
  f.pump();
  int executions = 0;
  for (; chunk.got->all.empty() && executions < 1'000; ++executions) {
    f.enqueue(d, 4, of(priority::high));
    f.wait(10ms);
    f.finish(0);
    f.pump();
  }
  EXPECT(executions >= 20);
  EXPECT(executions <= 22);
  f.run_all();
}

TEST_CASE("tenants of a class share the cores by rows, however much one of them sends") {
  busy_fixture f;
  auto flood = f.enqueue(f.d, 1'000, of(priority::normal, "flood"));
  auto quiet = f.enqueue(f.d, 8, of(priority::normal, "quiet"));
  int executions = 0;
  for (; quiet.got->all.empty() && executions < 100; ++executions) {
    f.pump();
    f.finish(0);
  }
  EXPECT(executions <= 6);
  f.run_all();
  expect_answered(flood, 1'000);
}

// -- neighbours -------------------------------------------------------------------------------------------------------

TEST_CASE("rows that make the model fail end their own request only: its neighbours are run without it") {
  for (std::size_t bad = 0; bad < 5; ++bad) {
    busy_fixture f{8};
    std::vector<sent_request> all;
    for (int i = 0; i < 5; ++i) all.push_back(f.enqueue(f.d, 1));
    f.finish(0);
    int executions = 0;
    for (f.pump(); !f.held[0].empty(); f.pump(), ++executions) {
      const auto& parts = f.held[0].front()->parts;
      bool fails = std::any_of(parts.begin(), parts.end(), [&](const part& p) { return p.owner->id() == all[bad].id; });
      fails ? f.fail(0) : f.finish(0);
    }
    EXPECT(executions <= 7);  // by halves
    for (std::size_t i = 0; i < all.size(); ++i) {
      NOTE("request " << i << ", the bad one is " << bad);
      if (i == bad)
        expect_failed(all[i], errc::forward_failed);
      else
        expect_answered(all[i], 1);
    }
    f.expect_all_gone();
  }
}

TEST_CASE("a neighbour that is cancelled while the batch runs disturbs nobody") {
  busy_fixture f;
  std::vector<sent_request> all{f.enqueue(f.d, 1), f.enqueue(f.d, 2), f.enqueue(f.d, 1)};
  EXPECT(f.next(all) == "0:1 1:2 2:1");
  auto& work = *f.held[0].front();
  for (const auto& p : work.parts) p.where->start(p.attempt);
  f.queue.cancel(all[1].id, {errc::cancelled, "never mind"});
  expect_failed(all[1], errc::cancelled);
  f.finish(0);
  expect_answered(all[0], 1);
  expect_answered(all[2], 1);
  f.expect_all_gone();
}

TEST_CASE("neighbours on a core that is lost are run again together, on another core") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0, 1});
  f.queue.core_up(0);
  auto first = f.enqueue(d, 4);
  f.pump();
  std::vector<sent_request> all{f.enqueue(d, 1), f.enqueue(d, 2)};
  f.finish(0);
  f.pump();
  f.queue.core_up(1);
  f.down(0, true);
  EXPECT(f.pump() == 1);
  EXPECT(f.contents(*f.held[1].front(), {all[0].id, all[1].id}) == "0:1 1:2");
  f.run_all();
  for (std::size_t i = 0; i < 2; ++i) expect_answered(all[i], i == 0 ? 1 : 2);
  f.expect_all_gone();
}

TEST_CASE("an answer says where its time went and with how many rows it ran") {
  busy_fixture f;
  std::vector<sent_request> all{f.enqueue(f.d, 1), f.enqueue(f.d, 2)};
  f.finish(0);
  f.run_all();
  const auto& timing = all[0].got->only().timing;
  EXPECT(timing.executions == 1);
  EXPECT(timing.batched_rows == 3);
  EXPECT(timing.padded_rows == 1);
  EXPECT(timing.cores == std::vector<std::size_t>{0});
}

TEST_CASE("a batch that is delayed keeps no core from others that could go") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0}, {}, {.max_queue_delay = 100ms});
  f.queue.core_up(0);
  auto waits = f.enqueue(d, 1);
  EXPECT(f.pump() == 0);
  auto alone = f.enqueue(d, 4, {}, false);  // joins nobody
  EXPECT(f.pump() == 1);
  f.finish(0);
  expect_answered(waits, 1);
  EXPECT(f.pump() == 1);
  f.finish(0);
  expect_answered(alone, 4);
  f.expect_all_gone();
}

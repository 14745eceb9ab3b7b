#include <ganglion/actors/batcher/request_queue.hpp>

#include <support/doctest.hpp>
#include <support/requests.hpp>

using namespace ganglion;
using namespace ganglion::test;

namespace {

struct fixture {
  std::shared_ptr<const deployment> target = deployment_of_batch(4, 1, {0, 1});
  request_queue queue;

  request_ptr push(std::int64_t rows, std::optional<std::int64_t> split = {}) {
    auto r = make_request(target, rows);
    r.value->plan(true, split);
    queue.push(r.value, {});
    return r.value;
  }
  std::optional<piece> take(std::size_t core = 0) {
    auto taken = queue.take([core](const piece& p) -> std::optional<std::size_t> {
      if (p.bound && *p.bound != core) return std::nullopt;
      return core;
    });
    if (!taken) return std::nullopt;
    EXPECT(taken->second == core);
    return taken->first;
  }
};

void expect_rows(const std::optional<piece>& p, const request_ptr& owner, std::int64_t first, std::int64_t rows) {
  REQUIRE(p);
  EXPECT(p->owner == owner);
  EXPECT(p->first_row == first);
  EXPECT(p->rows == rows);
}

}  // namespace

TEST_CASE("chunks go in order of arrival and of rows") {
  fixture f;
  EXPECT(f.queue.empty());
  auto a = f.push(6), b = f.push(3);
  expect_rows(f.take(), a, 0, 4);
  expect_rows(f.take(), a, 4, 2);
  expect_rows(f.take(), b, 0, 3);
  EXPECT(f.queue.empty());
  EXPECT_FALSE(f.take());
}

TEST_CASE("what nobody takes stays") {
  fixture f;
  auto a = f.push(6);
  int asked = 0;
  auto nobody = [&](const piece&) -> std::optional<std::size_t> {
    ++asked;
    return std::nullopt;
  };
  EXPECT_FALSE(f.queue.take(nobody));
  EXPECT(asked == 1);
  expect_rows(f.take(), a, 0, 4);
}

TEST_CASE("the rest of a large chunk goes to the core that began it, before anything new") {
  fixture f;
  auto a = f.push(10, 10), b = f.push(4);
  expect_rows(f.take(1), a, 0, 4);
  // Another core passes it by and takes what is next.
  expect_rows(f.take(0), b, 0, 4);
  EXPECT_FALSE(f.take(0));
  auto p = f.take(1);
  expect_rows(p, a, 4, 4);
  EXPECT(p->bound == 1u);
  EXPECT(p->chunk == 0);
  expect_rows(f.take(1), a, 8, 2);
  EXPECT(f.queue.empty());
}

TEST_CASE("the rest of a chunk whose core went away goes anywhere, and stays where it went") {
  fixture f;
  auto a = f.push(12, 12);
  f.take(1);
  f.queue.unbind(0);
  EXPECT_FALSE(f.take(0));
  f.queue.unbind(1);
  expect_rows(f.take(0), a, 4, 4);
  EXPECT_FALSE(f.take(1));
  expect_rows(f.take(0), a, 8, 4);
}

TEST_CASE("a retry goes first, with its slot") {
  fixture f;
  auto a = f.push(8);
  auto& where = a->add_slot(0, 4, 0);
  f.queue.push_retry({a, 0, 4, 0, {}, {}, &where, 1});
  auto p = f.take();
  expect_rows(p, a, 0, 4);
  EXPECT(p->where == &where);
  EXPECT(p->avoid == 1u);
}

TEST_CASE("what is withdrawn is exactly what had not left the queue") {
  fixture f;
  auto a = f.push(30, 10), b = f.push(5);
  f.take(0);  // 4 of a's first chunk: 6 are bound, 20 wait
  auto& where = a->add_slot(0, 4, 0);
  f.queue.push_retry({a, 0, 4, 0, {}, {}, &where, 1});
  EXPECT(f.queue.find(a->id()) == a);
  std::int64_t slots = 0, rows = 0;
  for (const auto& w : f.queue.withdraw(a.get())) {
    EXPECT(w.owner == a);
    (w.where != nullptr ? slots : rows) += w.rows;
  }
  EXPECT(slots == 4);
  EXPECT(rows == 26);
  EXPECT(f.queue.find(a->id()) == nullptr);
  EXPECT(f.queue.find(b->id()) == b);
  EXPECT(f.queue.withdraw(nullptr).size() == 1);
  EXPECT(f.queue.empty());
}

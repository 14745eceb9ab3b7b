#include "formation_fixture.hpp"

#include <support/errors.hpp>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

/// Two cores and a program of 4 rows that takes 2 us.
struct quick_fixture : formation_fixture {
  std::shared_ptr<const deployment> d;

  explicit quick_fixture(double seconds = 2e-6, std::optional<std::size_t> num_workers = {}) {
    d = add(1, 4, {0, 1}, num_workers);
    queue.expect_seconds(1, 0, seconds);
    for (std::size_t core : {0, 1}) queue.core_up(core);
  }
  /// How often each execution that a core holds runs the program.
  std::vector<std::int64_t> forwards(std::size_t core) {
    std::vector<std::int64_t> result;
    for (const auto& work : held[core]) result.push_back(work->forwards);
    return result;
  }
};

using counts = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("full batches of one request go together where a forward takes microseconds, and the cores share evenly") {
  quick_fixture f;
  auto r = f.enqueue(f.d, 4 * 64);
  EXPECT(f.pump() == 2);
  for (std::size_t core : {0, 1}) {
    EXPECT(f.forwards(core) == counts{32});
    for (const auto& work : f.held[core]) {
      EXPECT(work->batch == 4);
      EXPECT(work->rows() == 128);
      EXPECT(work->padding_rows() == 0);
      EXPECT(work->parts.size() == 1);
    }
  }
  f.run_all();
  expect_answered(r, 4 * 64);
  EXPECT(r.got->only().timing.executions == 64);
  f.expect_all_gone();
}

TEST_CASE("of several requests at most half of what is left for a core goes together") {
  quick_fixture f;
  auto r = f.enqueue(f.d, 4 * 64), other = f.enqueue(f.d, 4 * 64);
  f.pump();
  EXPECT(f.forwards(0).front() == 16);
  f.run_all();
  expect_answered(r, 4 * 64);
  expect_answered(other, 4 * 64);
  f.expect_all_gone();
}

TEST_CASE("no more goes together than the longest time takes, and nothing where a forward takes more than the least") {
  quick_fixture f{20e-6};
  auto r = f.enqueue(f.d, 4 * 200);
  f.pump();
  REQUIRE_FALSE(f.held[0].empty());
  EXPECT(f.forwards(0).front() == 20);  // 100 in parts of at most two times 0.25 ms
  f.run_all();
  expect_answered(r, 4 * 200);
  quick_fixture shared{20e-6};
  auto one = shared.enqueue(shared.d, 4 * 200), two = shared.enqueue(shared.d, 4);
  shared.pump();
  REQUIRE_FALSE(shared.held[0].empty());
  EXPECT(shared.forwards(0).front() == 12);  // 0.25 ms
  shared.run_all();
  expect_answered(one, 4 * 200);
  expect_answered(two, 4);
  quick_fixture slow{21e-6};
  auto s = slow.enqueue(slow.d, 4 * 20);
  slow.pump();
  for (auto forwards : slow.forwards(0)) EXPECT(forwards == 1);
  slow.run_all();
  expect_answered(s, 4 * 20);
}

TEST_CASE("before anything was measured every batch goes by itself") {
  formation_fixture f;
  auto d = f.add(1, 4, {0});
  f.queue.core_up(0);
  auto r = f.enqueue(d, 4 * 64);
  f.pump();
  for (const auto& work : f.held[0]) EXPECT(work->forwards == 1);
  f.run_all();
  expect_answered(r, 4 * 64);
}

TEST_CASE("what is measured of several forwards together counts for one") {
  quick_fixture f;
  auto r = f.enqueue(f.d, 4 * 64);
  f.pump();
  while (!f.held[0].empty()) f.finish(0, 0, 32 * 2us);
  while (!f.held[1].empty()) f.finish(1, 0, 32 * 2us);
  f.run_all();
  auto next = f.enqueue(f.d, 4 * 64);
  f.pump();
  EXPECT(f.forwards(0) == counts{32});  // a forward that took 64 us would go by itself
  f.run_all();
  expect_answered(next, 4 * 64);
}

TEST_CASE("the batch that is open is filled first, and the rows that are left go by themselves") {
  quick_fixture f{2e-6};
  auto small = f.enqueue(f.d, 1);
  auto large = f.enqueue(f.d, 3 + 4 * 40 + 2);
  f.pump();
  const std::vector<std::uint64_t> ids{small.id, large.id};
  std::int64_t whole = 0, padded = 0;
  for (std::size_t core : {0, 1})
    for (const auto& work : f.held[core]) {
      if (work->forwards > 1) ++whole;
      padded += work->padding_rows();
    }
  EXPECT(f.contents(*f.held[0].front(), ids) == "0:1 1:3");
  EXPECT(whole >= 2);
  f.run_all();
  expect_answered(small, 1);
  expect_answered(large, 3 + 4 * 40 + 2);
  f.expect_all_gone();
}

TEST_CASE("batches that go together are one execution of the cap, and run one after the other") {
  quick_fixture f{2e-6, 1};
  auto r = f.enqueue(f.d, 4 * 64);
  EXPECT(f.pump() == 1);
  EXPECT(f.held[0].front()->forwards == 32);
  f.run_all();
  expect_answered(r, 4 * 64);
}

TEST_CASE("tenants whose batches go together still share evenly") {
  quick_fixture f;
  request_options a, b;
  a.tenant = "a";
  b.tenant = "b";
  auto of_a = f.enqueue(f.d, 4 * 2'000, a), of_b = f.enqueue(f.d, 4 * 2'000, b);
  std::map<std::uint64_t, std::int64_t> rows;
  for (int i = 0; i < 12; ++i) {
    f.pump();
    auto core = f.held[0].empty() ? 1 : 0;
    const auto& work = *f.held[core].front();
    rows[work.parts.front().owner->id()] += work.rows();
    f.finish(core, 0, work.forwards * 2us);
  }
  EXPECT(std::abs(rows[of_a.id] - rows[of_b.id]) <= 4 * 125);  // 0.25 ms of rows
  f.run_all();
  expect_answered(of_a, 4 * 2'000);
  expect_answered(of_b, 4 * 2'000);
}

TEST_CASE("batches that ran together on a core that was lost run again together, and their old lane writes nothing") {
  quick_fixture f;
  auto r = f.enqueue(f.d, 4 * 64);
  f.pump();
  f.begin(0);
  auto lost = f.down(0, true);
  REQUIRE(lost.size() == 1);
  f.pump();
  EXPECT_FALSE(f.lanes.complete(lost.front(), 0).ran);
  for (bool found = false; !found;) {
    REQUIRE_FALSE(f.held[1].empty());
    const auto& work = *f.held[1].front();
    found = work.parts.front().where == lost.front()->parts.front().where;
    if (found) {
      EXPECT(work.forwards == 32);
      EXPECT(work.parts.front().attempt == 1);
    }
    f.finish(1, 0, 32us);
    f.pump();
  }
  f.run_all();
  expect_answered(r, 4 * 64);
  f.expect_all_gone();
}

TEST_CASE("batches that fail together fail their request, and are dropped with it") {
  quick_fixture f;
  auto r = f.enqueue(f.d, 4 * 64), neighbour = f.enqueue(f.d, 4 * 8);
  f.pump();
  f.fail(0);
  expect_failed(r, errc::forward_failed);
  f.run_all();
  expect_answered(neighbour, 4 * 8);
  f.expect_all_gone();
}

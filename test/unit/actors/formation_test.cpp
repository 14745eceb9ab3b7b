#include "formation_fixture.hpp"

#include <support/errors.hpp>

#include <numeric>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

// -- when and where ---------------------------------------------------------------------------------------------------

TEST_CASE("an execution is formed only when a core can take it") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0});
  auto r = f.enqueue(d, 8);
  EXPECT(f.pump() == 0);
  f.queue.core_up(0);
  EXPECT(f.pump() == 1);
  EXPECT(f.pump() == 0);
  EXPECT(f.queue.executions_in_flight() == 1);
  f.run_all();
  expect_answered(r, 8);
  f.expect_all_gone();
}

TEST_CASE("a core takes executions up to its credit, in measured seconds beyond the first two") {
  formation_fixture f{{2, 10.5e-3, 128}};
  auto d = f.add(1, 1, {0});
  f.queue.core_up(0);
  f.enqueue(d, 100);
  EXPECT(f.pump() == 2);  // nothing was measured yet
  f.finish(0, 0, 1ms);
  f.finish(0, 0, 1ms);
  EXPECT(f.pump() == 10);
  f.run_all();
  f.expect_all_gone();
}

TEST_CASE("the seconds of a warm-up stand for the measurement that is to come") {
  formation_fixture f{{1, 10e-3, 128}};
  auto d = f.add(1, 1, {0});
  f.queue.expect_seconds(1, 0, 2e-3);
  f.queue.core_up(0);
  f.enqueue(d, 100);
  EXPECT(f.pump() == 5);
  f.run_all();
}

TEST_CASE("on an idle engine no core runs more than its even share") {
  for (std::int64_t rows : {1, 5, 22, 40, 41, 97})
    for (std::int64_t batch : {1, 3, 5, 8})
      for (std::size_t cores : {1, 2, 3, 5, 16}) {
        formation_fixture f{{1'000, 1e9, 1'000}};
        std::vector<std::size_t> indices(cores);
        std::iota(indices.begin(), indices.end(), std::size_t{0});
        auto d = f.add(1, batch, indices);
        for (auto c : indices) f.queue.core_up(c);
        auto r = f.enqueue(d, rows);
        std::map<std::size_t, std::size_t> ran;
        auto executions = f.pump();  // but for a short one that finds no core idle
        for (auto c : indices) ran[c] = f.held[c].size();
        for (auto c : indices)
          while (!f.held[c].empty()) f.finish(c);
        executions += f.pump();
        for (auto c : indices) ran[c] += f.held[c].size();
        REQUIRE(executions == static_cast<std::size_t>((rows + batch - 1) / batch));
        for (auto c : indices) REQUIRE(ran[c] <= (executions + cores - 1) / cores);
        f.run_all();
        expect_answered(r, rows);
      }
}

TEST_CASE("the core with the least work is taken") {
  formation_fixture f;
  auto d = f.add(1, 1, {0, 1});
  f.queue.core_up(0);
  f.queue.core_up(1);
  f.enqueue(d, 4);
  f.pump();
  f.finish(1);
  f.finish(1);
  f.enqueue(d, 1);
  f.pump();
  EXPECT(f.held[1].size() == 1);
  f.run_all();
}

TEST_CASE("a deployment uses its own cores and no other") {
  formation_fixture f;
  auto d = f.add(1, 1, {2});
  f.queue.core_up(0);
  f.enqueue(d, 5);
  EXPECT(f.pump() == 0);
  f.queue.core_up(2);
  EXPECT(f.pump() == 2);
  EXPECT(f.held[2].size() == 2);
  f.run_all();
  f.expect_all_gone();
}

TEST_CASE("num_workers caps the executions in flight, over all cores, and can be changed") {
  formation_fixture f;
  auto d = f.add(1, 1, {0, 1}, 1);
  f.queue.core_up(0);
  f.queue.core_up(1);
  f.enqueue(d, 9);
  EXPECT(f.pump() == 1);
  f.queue.set_num_workers(1, 3);
  EXPECT(f.pump() == 2);
  f.finish(0);
  EXPECT(f.pump() == 1);
  f.queue.set_num_workers(1, std::nullopt);
  EXPECT(f.pump() == 1);
  f.queue.set_num_workers(77, 1);  // nobody's
  f.run_all();
  f.expect_all_gone();
}

TEST_CASE("a chunk of more rows than a batch runs as several executions on one core") {
  formation_fixture f;
  auto d = f.add(1, 4, {0, 1});
  f.queue.core_up(0);
  f.queue.core_up(1);
  auto r = f.enqueue(d, 44, 22);
  std::map<std::size_t, std::set<std::size_t>> cores_of_chunk;
  for (int i = 0; i < 30; ++i) {
    f.pump();
    for (auto& [core, all] : f.held)
      if (!all.empty()) {
        EXPECT(all.front()->rows() <= 4);
        cores_of_chunk[all.front()->parts.front().where->chunk()].insert(core);
        f.finish(core);
      }
  }
  REQUIRE(cores_of_chunk.size() == 2);
  for (const auto& [chunk, cores] : cores_of_chunk) EXPECT(cores.size() == 1);
  expect_answered(r, 44);
  f.expect_all_gone();
}

TEST_CASE("no execution holds more than a batch, and each says how many rows are padding") {
  formation_fixture f{{100, 1, 100}};
  auto d = f.add(1, 5, {0});
  f.queue.core_up(0);
  auto r = f.enqueue(d, 22);
  std::vector<std::int64_t> rows;
  for (f.pump(); !f.held[0].empty(); f.pump()) {
    const auto& work = f.held[0].front();
    rows.push_back(work->rows());
    EXPECT(work->batch == 5);
    EXPECT(work->padding_rows() == 5 - work->rows());
    f.finish(0);
  }
  EXPECT(rows == std::vector<std::int64_t>{5, 5, 5, 5, 2});
  f.run_all();
  expect_answered(r, 22);
}

// -- taking turns -----------------------------------------------------------------------------------------------------

namespace {

/// Runs executions on core 0, a millisecond each of `a` and three each of `b`, and counts the milliseconds of both.
std::pair<int, int> share(formation_fixture& f, std::uint64_t a, int executions) {
  int of_a = 0, of_b = 0;
  for (int i = 0; i < executions && !f.held[0].empty(); ++i) {
    bool is_a = f.held[0].front()->deployment_id == a;
    (is_a ? of_a : of_b) += is_a ? 1 : 3;
    f.finish(0, 0, is_a ? 1ms : 3ms);
    f.pump();
  }
  return {of_a, of_b};
}

}  // namespace

TEST_CASE("two deployments share a core by measured seconds, not by executions") {
  formation_fixture f{{1, 0, 1}};
  auto a = f.add(1, 1, {0});
  auto b = deployment_of(plus_one_model(1), 2, {0});
  f.queue.add(b, {});
  f.queue.core_up(0);
  f.enqueue(a, 400);
  f.enqueue(b, 400);
  f.pump();
  share(f, 1, 10);
  auto [of_a, of_b] = share(f, 1, 200);
  EXPECT(of_a == doctest::Approx(of_b).epsilon(0.05));
  f.run_all();
  f.expect_all_gone();
}

TEST_CASE("a deployment that comes late does not make up for the time before, whether the other is busy or idle") {
  for (bool idle_between : {true, false}) {
    formation_fixture f{{1, 0, 1}};
    auto a = f.add(1, 1, {0});
    auto b = deployment_of(plus_one_model(1), 2, {0});
    f.queue.add(b, {});
    f.queue.core_up(0);
    // One has the core to itself for a long time, with never more than what runs.
    for (int i = 0; i < 500; ++i) {
      f.enqueue(a, 1);
      f.pump();
      if (i == 499 && !idle_between) break;
      f.finish(0, 0, 1ms);
    }
    f.enqueue(b, 300);
    f.enqueue(a, 300);
    f.pump();
    share(f, 1, 10);
    auto [of_a, of_b] = share(f, 1, 120);
    NOTE("idle between: " << idle_between << ", " << of_a << " and " << of_b << " ms");
    EXPECT(of_a == doctest::Approx(of_b).epsilon(0.1));
    f.run_all();
  }
}

TEST_CASE("a deployment that was idle has no claim to the time that it did not use") {
  formation_fixture f{{1, 0, 1}};
  auto a = f.add(1, 1, {0});
  auto b = deployment_of(plus_one_model(1), 2, {0});
  f.queue.add(b, {});
  f.queue.core_up(0);
  f.enqueue(b, 1);
  f.enqueue(a, 1'000);
  f.pump();
  share(f, 1, 400);
  f.enqueue(b, 300);
  f.pump();
  share(f, 1, 10);
  auto [of_a, of_b] = share(f, 1, 120);
  EXPECT(of_a == doctest::Approx(of_b).epsilon(0.1));
  f.run_all();
}

TEST_CASE("a deployment whose cores are busy or away does not hold up another") {
  formation_fixture f{{1, 0, 1}};
  auto a = f.add(1, 1, {0}), b = f.add(2, 1, {1});
  f.queue.core_up(1);
  f.enqueue(a, 5);
  f.enqueue(b, 1);
  EXPECT(f.pump() == 1);
  EXPECT(f.held[1].size() == 1);
  f.queue.core_up(0);
  f.run_all();
  f.expect_all_gone();
}

// -- without dynamic batching -----------------------------------------------------------------------------------------

TEST_CASE(
    "with dynamic batching off a request of another size than cores times compiled is refused before it is queued") {
  formation_fixture f;
  auto d = f.add(1, 3, {0, 1});
  f.queue.core_up(0);
  f.queue.core_up(1);
  auto fits = f.enqueue(d, 6, {}, false);
  auto does_not = f.enqueue(d, 8, {}, false);
  expect_failed(does_not, errc::batch_size_mismatch);
  auto none = f.enqueue(d, 0, {}, false);
  expect_failed(none, errc::batch_size_mismatch);
  EXPECT(f.pump() == 2);
  EXPECT(f.held[0].size() == 1);
  EXPECT(f.held[1].size() == 1);
  f.run_all();
  expect_answered(fits, 6);
  f.expect_all_gone();
}

TEST_CASE("the check of the size is against all cores of the deployment, also while one is away") {
  formation_fixture f;
  auto d = f.add(1, 3, {0, 1});
  f.queue.core_up(0);
  auto r = f.enqueue(d, 6, {}, false);
  f.run_all();
  expect_answered(r, 6);
  expect_failed(f.enqueue(d, 3, {}, false), errc::batch_size_mismatch);
}

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
  f.queue.expect_seconds(d->model.id(), 2e-3);
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
        auto executions = f.pump();
        REQUIRE(executions == static_cast<std::size_t>((rows + batch - 1) / batch));
        for (auto c : indices) REQUIRE(f.held[c].size() <= (executions + cores - 1) / cores);
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
  f.pump();
  std::vector<std::int64_t> rows;
  for (const auto& work : f.held[0]) {
    rows.push_back(work->rows());
    EXPECT(work->batch == 5);
    EXPECT(work->padding_rows() == 5 - work->rows());
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

TEST_CASE("with dynamic batching off a request of another size than cores times compiled is refused before it is queued") {
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

// -- failures ---------------------------------------------------------------------------------------------------------

TEST_CASE("an execution that fails ends its request, and nobody else's") {
  formation_fixture f;
  auto d = f.add(1, 1, {0, 1});
  f.queue.core_up(0);
  f.queue.core_up(1);
  auto bad = f.enqueue(d, 6);
  auto good = f.enqueue(d, 3);
  EXPECT(f.pump() == 4);
  f.fail(0);
  expect_failed(bad, errc::forward_failed);
  EXPECT(f.gate->queued_rows() == 3);
  f.run_all();
  expect_answered(good, 3);
  EXPECT(bad.got->once());
  f.expect_all_gone();
}

TEST_CASE("chunks that cannot be gathered end their request when their report comes") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 1, {0});
  f.queue.core_up(0);
  auto bad = f.enqueue(d, 5);
  auto good = f.enqueue(d, 1);
  f.pump();
  f.finish(0);
  f.pump();
  f.lanes.run = [](const auto&) -> c10::IValue { return at::ones({1, 9}); };
  f.finish(0);
  expect_failed(bad, errc::gather_mismatch);
  EXPECT(f.gate->queued_rows() == 1);
  f.lanes.run = [](const auto& leaves) -> c10::IValue { return leaves[0].toTensor() + 1; };
  f.run_all();
  expect_answered(good, 1);
  f.expect_all_gone();
}

TEST_CASE("an execution that was not run gives its credit back and fails nobody") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 1, {0});
  f.queue.core_up(0);
  auto r = f.enqueue(d, 2);
  auto id = request::next_id() - 1;
  f.pump();
  f.queue.cancel(1, id, {errc::cancelled, "x"});
  expect_failed(r, errc::cancelled);
  EXPECT(f.pump() == 0);
  auto work = f.take(0);
  f.queue.finished(0, {work, {}, false, {}, {}, {}});
  auto next = f.enqueue(d, 1);
  f.run_all();
  expect_answered(next, 1);
  f.expect_all_gone();
}

// -- cancel -----------------------------------------------------------------------------------------------------------

TEST_CASE("a cancelled request is answered at once, whether it waits, is bound, runs, or is half done") {
  for (std::string stage : {"waits", "bound", "runs", "half done"}) {
    NOTE(stage);
    formation_fixture f;
    auto d = f.add(1, 1, {0});
    auto other = f.enqueue(d, 2);
    auto r = f.enqueue(d, 3);
    auto id = request::next_id() - 1;
    std::vector<execution_ptr> running;
    if (stage != "waits") {
      f.queue.core_up(0);
      f.pump();
      f.finish(0);
      f.finish(0);
      f.pump();
      if (stage == "runs") f.held[0][0]->parts[0].where->start(0);
      if (stage == "half done") f.finish(0);
    }
    f.queue.cancel(1, id, {errc::cancelled, "as you wish"});
    expect_failed(r, errc::cancelled);
    EXPECT(f.gate->unanswered() == (stage == "waits" ? 1 : 0));
    f.queue.core_up(0);
    if (stage == "waits") f.run_all();
    while (!f.held[0].empty()) f.finish(0);  // it does what it still can: nothing
    EXPECT(r.got->once());
    expect_answered(other, 2);
    f.expect_all_gone();
  }
}

TEST_CASE("cancelling what is not there, or is another deployment's, does nothing") {
  formation_fixture f;
  auto a = f.add(1, 1, {0}), b = f.add(2, 1, {0});
  f.queue.core_up(0);
  auto r = f.enqueue(a, 5);
  auto id = request::next_id() - 1;
  f.pump();
  f.queue.cancel(1, id + 100, {errc::cancelled, "x"});
  f.queue.cancel(2, id, {errc::cancelled, "x"});
  f.queue.cancel(3, id, {errc::cancelled, "x"});
  f.run_all();
  f.queue.cancel(1, id, {errc::cancelled, "too late"});
  expect_answered(r, 5);
}

// -- cores that go ----------------------------------------------------------------------------------------------------

TEST_CASE("what a lost core held is run once more on another core") {
  formation_fixture f;
  auto d = f.add(1, 2, {0, 1});
  f.queue.core_up(0);
  f.queue.core_up(1);
  auto r = f.enqueue(d, 6);
  f.pump();
  auto zombies = f.down(0, true);
  EXPECT(zombies.size() == 2);
  f.queue.core_up(0);
  f.run_all();
  expect_answered(r, 6);
  // The dead lane ends what it was at: nothing of it counts.
  for (const auto& work : zombies) {
    EXPECT_FALSE(f.lanes.complete(work, 0).ran);
    f.queue.finished(0, {work, {errc::forward_failed, "late"}, true, {}, {}, {}});
  }
  EXPECT(r.got->once());
  f.expect_all_gone();
}

TEST_CASE("a retry does not go to the core that lost it while another is there") {
  formation_fixture f{{4, 0, 4}};
  auto d = f.add(1, 1, {0, 1});
  f.queue.core_up(0);
  f.queue.core_up(1);
  auto filler = f.enqueue(d, 7);
  f.pump();
  auto r = f.enqueue(d, 1);
  f.pump();
  REQUIRE(f.held[1].size() == 4);
  auto zombies = f.down(1, true);
  f.queue.core_up(1);  // back at once, and idle, while the other is full
  f.pump();
  for (const auto& work : f.held[1])
    for (const auto& p : work->parts) EXPECT(p.attempt == 0);
  f.run_all();
  expect_answered(r, 1);
  expect_answered(filler, 7);
}

TEST_CASE("a retry waits for the core that lost it where all others have gone meanwhile") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 1, {0, 1});
  f.queue.core_up(0);
  f.queue.core_up(1);
  auto a = f.enqueue(d, 1), b = f.enqueue(d, 1);
  f.pump();
  f.down(0, true);
  f.finish(1);
  f.down(1, true);
  f.queue.core_up(0);
  f.run_all();
  expect_answered(a, 1);
  expect_answered(b, 1);
  f.expect_all_gone();
}

TEST_CASE("what was lost twice fails with core_lost, the rows and the core") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 2, {0, 1});
  f.queue.core_up(0);
  auto r = f.enqueue(d, 2);
  f.pump();
  f.queue.core_up(1);
  f.down(0, true);
  f.queue.core_up(0);
  f.pump();
  REQUIRE(f.held[1].size() == 1);
  f.down(1, true);
  expect_failed(r, errc::core_lost);
  EXPECT(r.got->only().error.first_row == 0);
  EXPECT(r.got->only().error.last_row == 2);
  EXPECT(r.got->only().error.core == 1);
  f.run_all();
  f.expect_all_gone();
}

TEST_CASE("what no other core can take fails when its core goes, and what waits stays for its return") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 1, {0});
  f.queue.core_up(0);
  auto running = f.enqueue(d, 1);
  auto waiting = f.enqueue(d, 1);
  f.pump();
  f.down(0, true);
  expect_failed(running, errc::core_lost);
  EXPECT(waiting.got->all.empty());
  f.queue.core_up(0);
  f.run_all();
  expect_answered(waiting, 1);
  f.expect_all_gone();
}

TEST_CASE("rows that a core committed before it was lost are not lost") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 1, {0, 1});
  f.queue.core_up(0);
  f.queue.core_up(1);
  auto r = f.enqueue(d, 2);
  f.pump();
  f.down(0, true);  // its rows go to core 1 for the second time
  f.finish(1);
  f.pump();
  REQUIRE(f.held[1].size() == 1);
  SUBCASE("the last ones") {
    f.lanes.complete(f.held[1][0], 1);  // done, but the report is on its way
    f.down(1, true);
    expect_answered(r, 2);
  }
  SUBCASE("while others are elsewhere") {
    formation_fixture g{{1, 0, 1}};
    auto e = g.add(1, 1, {0, 1});
    g.queue.core_up(0);
    auto s = g.enqueue(e, 2);
    g.pump();
    g.queue.core_up(1);
    g.down(0, true);
    g.queue.core_up(0);
    g.pump();  // the retry is on core 1, the second row on core 0
    REQUIRE(g.held[1].size() == 1);
    REQUIRE(g.held[0].size() == 1);
    g.lanes.complete(g.held[1][0], 1);
    g.down(1, true);
    g.run_all();
    expect_answered(s, 2);
    g.expect_all_gone();
  }
}

TEST_CASE("when all cores of a deployment are lost everything fails at once, and so does what comes") {
  formation_fixture f;
  auto d = f.add(1, 1, {0, 1});
  auto other = f.add(2, 1, {2});
  for (std::size_t core : {0, 1, 2}) f.queue.core_up(core);
  auto r = f.enqueue(d, 9);
  auto unharmed = f.enqueue(other, 3);
  f.pump();
  f.down(0, false);
  EXPECT(r.got->all.empty());
  f.down(1, false);
  expect_failed(r, errc::core_lost);
  auto late = f.enqueue(d, 1);
  expect_failed(late, errc::core_lost);
  EXPECT(contains(late.got->only().error.text, "all cores of this model are lost"));
  f.run_all();
  expect_answered(unharmed, 3);
  f.queue.core_up(1);
  auto again = f.enqueue(d, 3);
  f.run_all();
  expect_answered(again, 3);
  f.expect_all_gone();
}

TEST_CASE("a core that went down gives a deployment its places in flight back") {
  formation_fixture f;
  auto d = f.add(1, 1, {0, 1}, 2);
  f.queue.core_up(0);
  auto r = f.enqueue(d, 4);
  EXPECT(f.pump() == 2);
  f.queue.core_up(1);
  f.down(0, true);
  EXPECT(f.pump() == 2);
  f.run_all();
  expect_answered(r, 4);
}

// -- the end ----------------------------------------------------------------------------------------------------------

TEST_CASE("a deployment that is closed runs what was accepted, refuses what comes, and is named once when it is done") {
  formation_fixture f;
  auto d = f.add(1, 1, {0});
  f.queue.core_up(0);
  auto accepted = f.enqueue(d, 5);
  f.pump();
  f.queue.close(1);
  expect_failed(f.enqueue(d, 1), errc::draining);
  EXPECT(f.queue.take_closed().empty());
  f.run_all();
  expect_answered(accepted, 5);
  EXPECT(f.queue.take_closed() == std::vector<std::uint64_t>{1});
  EXPECT(f.queue.take_closed().empty());
  expect_failed(f.enqueue(d, 1), errc::draining);
  f.expect_all_gone();
}

TEST_CASE("a request for a deployment that was never added is refused with draining") {
  formation_fixture f;
  expect_failed(f.enqueue(deployment_of_batch(1, 9, {0}), 1), errc::draining);
  f.expect_all_gone();
}

TEST_CASE("at the end everything is answered with the reason, waiting, bound or running") {
  formation_fixture f;
  auto a = f.add(1, 1, {0}), b = f.add(2, 4, {0});
  f.queue.core_up(0);
  std::vector<sent_request> all{f.enqueue(a, 3), f.enqueue(b, 40, 40), f.enqueue(a, 1)};
  f.pump();
  f.held[0][0]->parts[0].where->start(0);
  f.queue.fail_all({errc::draining, "the end"});
  for (const auto& r : all) expect_failed(r, errc::draining);
  EXPECT(f.gate->unanswered() == 0);
  EXPECT(f.gate->queued_rows() == 0);
}

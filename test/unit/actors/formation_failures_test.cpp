#include "formation_fixture.hpp"

#include <support/errors.hpp>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

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
  f.queue.cancel(id, {errc::cancelled, "x"});
  expect_failed(r, errc::cancelled);
  EXPECT(f.pump() == 0);
  auto work = f.take(0);
  f.queue.finished(0, {work, {}, false, {}, {}, {}}, f.now);
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
    f.queue.cancel(id, {errc::cancelled, "as you wish"});
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

TEST_CASE("cancelling what is not there, or is answered already, does nothing") {
  formation_fixture f;
  auto a = f.add(1, 1, {0});
  f.queue.core_up(0);
  auto r = f.enqueue(a, 5);
  auto id = request::next_id() - 1;
  f.pump();
  f.queue.cancel(id + 100, {errc::cancelled, "x"});
  f.run_all();
  f.queue.cancel(id, {errc::cancelled, "too late"});
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
    f.queue.finished(0, {work, {errc::forward_failed, "late"}, true, {}, {}, {}}, f.now);
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
  f.begin(1, 4);
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
  f.begin(0);
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
  f.begin(0);
  f.down(0, true);
  f.queue.core_up(0);
  f.pump();
  REQUIRE(f.held[1].size() == 1);
  f.begin(1);
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
  f.begin(0);
  f.down(0, true);
  expect_failed(running, errc::core_lost);
  EXPECT(waiting.got->all.empty());
  f.queue.core_up(0);
  f.run_all();
  expect_answered(waiting, 1);
  f.expect_all_gone();
}

TEST_CASE("what only waited in the lane of a lost core waits on, with no other core too") {
  formation_fixture f{{2, 0, 2}};
  auto d = f.add(1, 1, {0});
  f.queue.core_up(0);
  auto running = f.enqueue(d, 1);
  auto waiting = f.enqueue(d, 1);
  REQUIRE(f.pump() == 2);
  f.begin(0);
  f.down(0, true);
  expect_failed(running, errc::core_lost);
  EXPECT(waiting.got->all.empty());
  EXPECT(f.pump() == 0);
  f.queue.core_up(0);
  f.run_all();
  expect_answered(waiting, 1);
  f.expect_all_gone();
}

TEST_CASE("what only waits is given up when it has taken many cores with it all the same") {
  formation_fixture f;
  auto d = f.add(1, 1, {0});
  auto r = f.enqueue(d, 1);
  for (int i = 0; i < 8; ++i) {
    EXPECT(r.got->all.empty());
    f.queue.core_up(0);
    REQUIRE(f.pump() == 1);
    f.down(0, true);
  }
  expect_failed(r, errc::core_lost);
  EXPECT(contains(r.got->only().error.text, "after it had been tried before"));
  f.expect_all_gone();
}

TEST_CASE("requests that shared the execution of a lost core run apart, so that only one takes a second core with it") {
  formation_fixture f{{4, 0, 4}};
  auto d = f.add(1, 4, {0, 1});
  f.queue.core_up(0);
  auto first = f.enqueue(d, 1), bad = f.enqueue(d, 2), last = f.enqueue(d, 1);
  auto bad_id = request::next_id() - 2;
  REQUIRE(f.pump() == 1);
  f.queue.core_up(1);
  f.begin(0);
  f.down(0, true);
  f.queue.core_up(0);
  REQUIRE(f.pump() == 3);
  REQUIRE(f.held[1].size() == 3);
  for (const auto& work : f.held[1]) EXPECT(work->parts.size() == 1);
  // The first ends well; the lane hangs in the second, while the third waits behind it.
  while (f.held[1].front()->parts.front().owner->id() != bad_id) f.finish(1);
  f.begin(1);
  f.down(1, true);
  expect_failed(bad, errc::core_lost);
  f.run_all();
  expect_answered(first, 1);
  expect_answered(last, 1);
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

TEST_CASE("a request that its lane failed is answered when the lane's report is lost with the core") {
  formation_fixture f{{4, 0, 4}};
  auto d = f.add(1, 1, {0});
  f.queue.core_up(0);
  auto r = f.enqueue(d, 6, 1);
  REQUIRE(f.pump() == 4);
  f.lanes.complete(f.held[0][0], 0);
  f.lanes.complete(f.held[0][1], 0);
  f.held[0][1]->parts[0].owner->answer().fail({errc::gather_mismatch, "its outputs do not fit"});
  EXPECT(r.got->all.empty());
  f.down(0, true);
  expect_failed(r, errc::gather_mismatch);
  f.queue.core_up(0);
  EXPECT(f.pump() == 0);
  f.expect_all_gone();
}

TEST_CASE("nobody keeps a request that was answered before its core was lost with the report") {
  formation_fixture f{{4, 0, 4}};
  auto d = f.add(1, 1, {0});
  f.queue.core_up(0);
  auto r = f.enqueue(d, 1);
  REQUIRE(f.pump() == 1);
  std::weak_ptr<request> kept = f.held[0][0]->parts[0].owner;
  SUBCASE("it is answered") {
    f.lanes.complete(f.held[0][0], 0);
    f.down(0, true);
    expect_answered(r, 1);
  }
  SUBCASE("the lane is still committing") {
    f.begin(0);
    auto& where = *f.held[0][0]->parts[0].where;
    REQUIRE(where.begin_commit(where.attempt()));
    f.down(0, true);
    EXPECT(r.got->all.empty());
    f.pump();
    REQUIRE_FALSE(kept.expired());
    {
      auto owner = kept.lock();
      where.end_commit();
      owner->answer().fail({errc::gather_mismatch, "its outputs do not fit"});
      owner->answer().drop_rows(1);
    }
    expect_failed(r, errc::gather_mismatch);
    f.pump();
  }
  EXPECT(kept.expired());
  f.expect_all_gone();
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

TEST_CASE("nothing of a request that a lost core ends is run again, whichever of its parts ended it") {
  formation_fixture f;
  auto target = f.add(1, 8, {0});
  f.queue.core_up(0);
  auto of = [](const char* tenant) {
    request_options options;
    options.tenant = tenant;
    return options;
  };
  auto r = f.enqueue(target, 20, of("a"));
  auto s = f.enqueue(target, 1, of("b"));
  f.pump();
  auto t = f.enqueue(target, 1, of("b"));
  f.finish(0);
  f.finish(0);
  f.pump();
  REQUIRE(f.held[0].size() == 1);
  const auto& work = *f.held[0][0];
  REQUIRE(f.contents(work, {r.id, s.id, t.id}) == "0:1 2:1 0:4");
  // The lane has come to the last of the three.
  work.parts[2].where->start(work.parts[2].attempt);
  f.down(0, true);
  expect_failed(r, errc::core_lost);
  f.queue.core_up(0);
  f.pump();
  REQUIRE(f.held[0].size() == 1);
  EXPECT(f.contents(*f.held[0][0], {r.id, s.id, t.id}) == "2:1");
  f.run_all();
  expect_answered(t, 1);
  f.expect_all_gone();
}

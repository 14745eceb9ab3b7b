#include "supervisor_fixture.hpp"

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

// -- cores that die ---------------------------------------------------------------------------------------------------

TEST_CASE("supervisor: a core that died starts again after its delay, and not before") {
  supervisor_fixture f;
  f.die(0);
  EXPECT(f.lanes.of(0).born == 1);
  EXPECT_FALSE(f.ask_status().cores[0].up);
  f.system.advance(9ms);
  EXPECT(f.lanes.of(0).born == 1);
  f.system.advance(1ms);
  EXPECT(f.lanes.of(0).born == 2);
  EXPECT(f.ask_status().cores[0].up);
  EXPECT(f.ask_status().cores[0].restarts == 1);
  REQUIRE(f.said.size() == 1);
  EXPECT(contains(f.said[0], "core nc:0 died"));
  EXPECT(contains(f.said[0], "the puppet died"));
  EXPECT(contains(f.said[0], "starts again in 10 ms"));
}

TEST_CASE("supervisor: the delay doubles with each death in a row, and starts anew after a life that was long enough") {
  supervisor_fixture f;
  std::size_t born = 1;
  for (auto delay : {10ms, 20ms, 40ms, 80ms}) {
    f.die(0);
    f.system.advance(delay - 1ms);
    EXPECT(f.lanes.of(0).born == born);
    f.system.advance(1ms);
    EXPECT(f.lanes.of(0).born == ++born);
  }
  f.system.advance(5s);
  f.die(0);
  f.system.advance(10ms);
  EXPECT(f.lanes.of(0).born == ++born);
}

TEST_CASE("supervisor: a core gets work again when all its models are loaded, and not before") {
  supervisor_fixture f{[](auto& c) { c.cores.resize(1); }};
  auto a = f.deploy_model(f.wish(plus_one_model(4))), b = f.deploy_model(f.wish(plus_one_model(2)));
  f.lanes.loads_at_once = false;
  f.die(0);
  f.infer(a.coordinator, 1);
  f.system.advance(10ms);
  EXPECT(f.lanes.of(0).loading.size() == 2);
  EXPECT(f.lanes.started(0) == 0);
  f.lanes.load(0);
  f.system.run();
  EXPECT(f.lanes.started(0) == 0);
  f.lanes.load(0);
  f.system.run();
  EXPECT(f.lanes.started(0) == 1);
  f.finish(0);
  f.expect_answered(1);
}

TEST_CASE("supervisor: what a dead core held is run on another, once") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1);
  auto zombie = f.lanes.begin(0);
  f.die(0);
  EXPECT(f.lanes.started(1) == 1);
  EXPECT_FALSE(f.lanes.complete(zombie, 0).ran);
  f.finish(1);
  f.expect_answered(1);

  f.system.advance(10ms);
  f.infer(d.coordinator, 2);
  std::size_t first = f.lanes.started(0) == 1 ? 0 : 1;
  f.lanes.begin(first);
  f.die(first);
  f.lanes.begin(1 - first);
  f.die(1 - first);
  f.expect_failed(2, errc::core_lost);
}

TEST_CASE("supervisor: after too many deaths in a row a core counts as lost, until it is back") {
  supervisor_fixture f{[](auto& c) {
    c.cores.resize(1);
    c.restart.lost_after = 2;
  }};
  auto d = f.deploy_model();
  f.die(0);
  f.infer(d.coordinator, 1);
  f.client.expect_none();  // it waits for the core
  f.system.advance(10ms);
  f.die(0);
  f.expect_failed(1, errc::core_lost);
  EXPECT(contains(f.said.back(), "counts as lost until then"));
  auto c = f.ask_status().cores[0];
  EXPECT(c.lost);
  EXPECT_FALSE(c.up);
  EXPECT(c.restarts == 2);
  f.infer(d.coordinator, 2);
  f.expect_failed(2, errc::core_lost);
  f.system.advance(20ms);
  c = f.ask_status().cores[0];
  EXPECT_FALSE(c.lost);
  EXPECT(c.up);
  f.infer(d.coordinator, 3);
  f.finish(0);
  f.expect_answered(3);
}

TEST_CASE("supervisor: a core that dies while it loads a model fails the deploy with core_lost") {
  supervisor_fixture f;
  f.lanes.loads_at_once = false;
  f.client.ask<deployed>(f.subject, f.wish());
  f.die(0);
  f.client.expect_none();
  f.lanes.load(1);
  auto d = f.client.expect<deployed>();
  EXPECT(d.error.code == errc::core_lost);
  EXPECT(d.error.core == 0);
  EXPECT(f.lanes.of(1).unloaded.size() == 1);
  f.system.advance(10ms);
  EXPECT(f.lanes.of(0).loading.empty());
  EXPECT(f.ask_status().cores[0].up);
}

TEST_CASE("supervisor: a model that is deployed while a core is away is loaded there when it is back") {
  supervisor_fixture f;
  f.die(0);
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1);
  f.finish(1);
  f.expect_answered(1);
  EXPECT(f.lanes.of(0).loaded.empty());
  f.system.advance(10ms);
  EXPECT(f.lanes.of(0).loaded.size() == 1);
  f.infer(d.coordinator, 2);
  f.finish(0);
  f.expect_answered(2);
}

TEST_CASE("supervisor: a core that cannot load its models again is no core: it is told, and tried once more later") {
  supervisor_fixture f{[](auto& c) { c.cores.resize(1); }};
  auto a = f.deploy_model(f.wish(plus_one_model(4))), b = f.deploy_model(f.wish(plus_one_model(2)));
  f.lanes.loads_at_once = false;
  f.die(0);
  f.system.advance(10ms);
  f.infer(a.coordinator, 1);
  EXPECT_FALSE(f.ask_status().cores[0].up);  // it is there, but has not loaded yet
  f.lanes.load(0, {errc::forward_failed, "no warm-up this time"});
  f.system.run();
  EXPECT(contains(f.said.back(), "no warm-up this time"));
  EXPECT(contains(f.said.back(), "starts again in 20 ms"));
  f.lanes.loads_at_once = true;
  f.client.expect_none();
  f.system.advance(20ms);
  EXPECT(f.ask_status().cores[0].up);
  f.finish(0);
  f.expect_answered(1);
}

TEST_CASE("supervisor: a core of which the lane cannot be made has died, and is tried again") {
  bool broken = true;
  supervisor_fixture f{[&broken](auto& c) {
    c.cores.resize(1);
    c.make_lane = [&broken, make = c.make_lane](const lane_config& config, std::shared_ptr<lane_sink> sink) {
      if (broken) throw std::runtime_error("no thread to be had");
      return make(config, std::move(sink));
    };
  }};
  REQUIRE(f.said.size() == 1);
  EXPECT(contains(f.said[0], "its lane cannot be made: no thread to be had"));
  broken = false;
  f.system.advance(10ms);
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1);
  f.finish(0);
  f.expect_answered(1);
}

TEST_CASE("supervisor: it is told when a core that died serves its models again, and not before") {
  supervisor_fixture f;
  f.die(1);
  f.system.advance(10ms);
  EXPECT(f.news.empty());  // there is nothing to serve yet
  auto d = f.deploy_model();
  f.lanes.loads_at_once = false;
  f.die(0);
  f.system.advance(10ms);
  EXPECT(f.news.empty());
  f.lanes.load(0);
  f.system.run();
  REQUIRE(f.news.size() == 1);
  EXPECT(f.news[0] == "core nc:0 is back and serves its 1 model again");
}

TEST_CASE("supervisor: a core that dies of the same again and again is told of ever more rarely") {
  supervisor_fixture f{[](auto& c) {
    c.cores.resize(1);
    c.make_lane = [](const lane_config&, std::shared_ptr<lane_sink>) -> std::unique_ptr<lane> {
      throw std::runtime_error("no thread to be had");
    };
  }};
  for (int i = 0; i < 40; ++i) f.system.advance(1s);  // a death each
  EXPECT(f.ask_status().cores[0].restarts == 41);
  REQUIRE(f.said.size() == 7);
  EXPECT(f.said[0] == "core nc:0 died (its lane cannot be made: no thread to be had) and starts again in 10 ms");
  EXPECT(contains(f.said[1], "died 2 times in a row"));
  EXPECT(contains(f.said[2], "died 4 times in a row"));
  EXPECT(contains(f.said[3], "died 5 times in a row"));
  EXPECT(contains(f.said[3], "starts again in 160 ms; it counts as lost until then"));
  EXPECT(contains(f.said[4], "died 8 times in a row"));
  EXPECT(contains(f.said[6], "died 32 times in a row"));
  EXPECT(f.news.empty());
}

TEST_CASE("supervisor: a core that dies of something else is told of at once") {
  supervisor_fixture f;
  for (auto reason : {"first", "first", "first", "second"}) {
    f.lanes.die(0, reason);
    f.system.run();
    f.system.advance(1s);
  }
  REQUIRE(f.said.size() == 3);  // not of the third
  EXPECT(contains(f.said[2], "(second)"));
}

// -- cores that hang --------------------------------------------------------------------------------------------------

TEST_CASE("supervisor: a core that hangs again while it warms up counts as lost, also where only executions have a limit") {
  supervisor_fixture f{[](auto& c) {
    c.cores.resize(1);
    c.limits.max_execution_time = 100ms;
  }};
  auto d = f.deploy_model();
  f.lanes.loads_at_once = false;
  f.infer(d.coordinator, 1);
  f.lanes.begin(0);
  f.lanes.of(0).activity = {f.system.now(), false};
  f.infer(d.coordinator, 2);
  f.system.advance(100ms);
  f.expect_failed(1, errc::core_lost);
  f.system.advance(10ms);
  REQUIRE(f.lanes.of(0).born == 2);
  f.lanes.of(0).activity = {f.system.now(), true};
  f.system.advance(9s);
  f.client.expect_none();  // it may still come
  EXPECT_FALSE(f.ask_status().cores[0].lost);
  f.system.advance(1s + 1ms);
  EXPECT(contains(f.said.back(), "max_load_step_time = 10000 ms passed while it loaded a model"));
  f.expect_failed(2, errc::core_lost);
  EXPECT(f.ask_status().cores[0].lost);
  f.infer(d.coordinator, 3);
  f.expect_failed(3, errc::core_lost);
  f.system.advance(1s);
  REQUIRE(f.lanes.of(0).born == 3);
  f.lanes.load(0);
  f.system.run();
  EXPECT_FALSE(f.ask_status().cores[0].lost);
  f.infer(d.coordinator, 4);
  f.finish(0);
  f.expect_answered(4);
}

TEST_CASE("supervisor: the time that a core hung is none that it served, however long its limit") {
  supervisor_fixture f{[](auto& c) {
    c.cores.resize(1);
    c.restart.lost_after = 2;
    c.limits.max_execution_time = 6s;
  }};
  auto d = f.deploy_model();
  for (std::uint64_t id : {1, 2}) {
    f.infer(d.coordinator, id);
    f.lanes.begin(0);
    f.lanes.of(0).activity = {f.system.now(), false};
    f.system.advance(6s);
    f.expect_failed(id, errc::core_lost);
    EXPECT(f.ask_status().cores[0].lost == (id == 2));
    if (id == 1) f.system.advance(10ms);
  }
}

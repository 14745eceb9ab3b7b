#include <support/deterministic_system.hpp>
#include <support/errors.hpp>
#include <support/probe.hpp>
#include <support/puppet_lane.hpp>
#include <support/requests.hpp>

#include <ganglion/actors/core/core.hpp>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

/// A core with a puppet lane, between a supervisor and a batcher that are doubles.
struct core_fixture {
  puppet_lanes lanes;
  deterministic_system system;
  probe supervisor{system}, batcher{system};
  std::vector<std::size_t> observed;
  compiled_model model = plus_one_model(4);
  std::shared_ptr<const deployment> target = deployment_of(model, 1, {3});
  core_actor subject;

  explicit core_fixture(hang_limits limits = {}) {
    lanes.loads_at_once = false;
    subject = spawn_core(supervisor.parent(),
                         {{3, 1, {}},
                          lanes.factory(),
                          caf::actor_cast<caf::weak_actor_ptr>(batcher.as<batcher_actor>()),
                          [this](const execution_report&, std::size_t core) { observed.push_back(core); },
                          limits});
    supervisor.watch(subject.address());
  }
  ~core_fixture() {
    supervisor.ignore_the_rest();
    system.end(subject);
  }

  std::pair<sent_request, execution_ptr> start(std::int64_t rows) {
    auto r = make_request(target, rows);
    r.value->plan(true, {});
    auto work = std::make_shared<execution>();
    work->model_id = model.id();
    work->batch = 4;
    work->parts.push_back({r.value, &r.value->add_slot(0, rows, 0), 0, 0});
    supervisor.send(subject, start_execution{work});
    return {r, work};
  }
  core_status status() {
    supervisor.send(subject, status_query{});
    return supervisor.expect<core_status>();
  }
};

}  // namespace

TEST_CASE("core: a load is answered with its operation when the lane has loaded") {
  core_fixture f;
  f.supervisor.send(f.subject, load_model{f.model, 17});
  f.supervisor.expect_none();
  EXPECT(f.status().models == 0);
  f.lanes.load(3);
  auto m = f.supervisor.expect<model_loaded>();
  EXPECT(m.core == 3);
  EXPECT(m.operation == 17);
  EXPECT(m.report.model_id == f.model.id());
  EXPECT(m.report.error.code == errc::ok);
  EXPECT(f.status().models == 1);
  EXPECT(f.status().model_bytes == 100);
}

TEST_CASE("core: overlapping loads are answered each with its own operation, also of one model") {
  core_fixture f;
  const auto& other = plus_one_model(2);
  f.supervisor.send(f.subject, load_model{f.model, 1});
  f.supervisor.send(f.subject, load_model{other, 2});
  f.supervisor.send(f.subject, load_model{f.model, 3});
  for (std::uint64_t operation : {1, 2, 3}) {
    f.lanes.load(3);
    EXPECT(f.supervisor.expect<model_loaded>().operation == operation);
  }
  EXPECT(f.status().models == 2);
}

TEST_CASE("core: a load that fails is answered with the failure, and the model is not counted") {
  core_fixture f;
  f.supervisor.send(f.subject, load_model{f.model, 1});
  f.lanes.load(3, {errc::forward_failed, "the warm-up failed"});
  EXPECT(f.supervisor.expect<model_loaded>().report.error.text == "the warm-up failed");
  EXPECT(f.status().models == 0);
}

TEST_CASE("core: a model that is unloaded is counted no more") {
  core_fixture f;
  f.supervisor.send(f.subject, load_model{f.model, 1});
  f.lanes.load(3);
  f.supervisor.expect<model_loaded>();
  f.supervisor.send(f.subject, unload_model{f.model.id()});
  EXPECT(f.lanes.of(3).unloaded == std::vector<std::uint64_t>{f.model.id()});
  EXPECT(f.status().model_bytes == 0);
}

TEST_CASE("core: a model that is unloaded while it loads is not counted, unless it is loaded once more") {
  core_fixture f;
  f.supervisor.send(f.subject, load_model{f.model, 1});
  f.supervisor.send(f.subject, unload_model{f.model.id()});
  f.system.run();
  f.lanes.load(3);
  f.supervisor.expect<model_loaded>();
  EXPECT(f.status().models == 0);
  EXPECT(f.status().model_bytes == 0);
  f.supervisor.send(f.subject, load_model{f.model, 2});
  f.supervisor.send(f.subject, unload_model{f.model.id()});
  f.supervisor.send(f.subject, load_model{f.model, 3});
  f.system.run();
  f.lanes.load(3);
  EXPECT(f.supervisor.expect<model_loaded>().operation == 2);
  EXPECT(f.status().models == 0);
  f.lanes.load(3);
  EXPECT(f.supervisor.expect<model_loaded>().operation == 3);
  EXPECT(f.status().models == 1);
}

TEST_CASE("core: executions go to the lane in order, and their reports to the batcher, the observer and the status") {
  core_fixture f;
  auto [a, first] = f.start(4);
  auto [b, second] = f.start(3);
  REQUIRE(f.lanes.started(3) == 2);
  EXPECT(f.lanes.of(3).started[0] == first);
  f.batcher.expect_none();
  f.lanes.finish(3);
  auto done = f.batcher.expect<executions_done>();
  EXPECT(done.core == 3);
  REQUIRE(done.reports->size() == 1);
  EXPECT(done.reports->front().work == first);
  EXPECT(a.got->only().ok());
  f.lanes.finish(3);
  EXPECT(f.batcher.expect<executions_done>().reports->front().work == second);
  EXPECT(f.observed == std::vector<std::size_t>{3, 3});
  auto s = f.status();
  EXPECT(s.index == 3);
  EXPECT(s.up);
  EXPECT(s.executions == 2);
  EXPECT(s.rows == 7);
  EXPECT(s.padding_rows == 1);
  EXPECT(s.busy_ns == 2'000'000);
}

TEST_CASE("core: what it is in the middle of counts as busy, and the count never shrinks") {
  core_fixture f;
  f.start(4);
  const auto began = f.system.now();
  f.lanes.of(3).activity = lane_activity{began, false};
  f.system.advance(300ms);
  EXPECT(f.status().busy_ns == 300'000'000);
  f.lanes.of(3).activity = lane_activity{began, true};  // a load is none
  EXPECT(f.status().busy_ns == 300'000'000);
  f.lanes.finish(3);  // which takes 1 ms by its own count
  f.batcher.expect<executions_done>();
  EXPECT(f.status().busy_ns == 300'000'000);
}

TEST_CASE("core: an execution that was taken back before it ran is reported and not counted") {
  core_fixture f;
  auto [r, work] = f.start(4);
  r.value->answer().fail({errc::cancelled, "x"});
  r.value->answer().drop(*work->parts[0].where);
  f.lanes.finish(3);
  EXPECT_FALSE(f.batcher.expect<executions_done>().reports->front().ran);
  EXPECT(f.status().executions == 0);
}

TEST_CASE("core: an execution that fails is reported with its error, and the core lives on") {
  core_fixture f;
  f.start(4);
  f.lanes.fail(3, "it broke");
  EXPECT(f.batcher.expect<executions_done>().reports->front().error.text == "it broke");
  auto [r, work] = f.start(4);
  f.lanes.finish(3);
  f.batcher.expect<executions_done>();
  EXPECT(r.got->only().ok());
}

TEST_CASE("core: when its lane is lost it quits with the reason and gives the lane up") {
  core_fixture f;
  auto [r, work] = f.start(4);
  f.supervisor.send(f.subject, load_model{f.model, 1});
  f.lanes.die(3, "the device fell off the bus");
  auto m = f.supervisor.expect<caf::down_msg>();
  EXPECT(m.source == f.subject.address());
  EXPECT(contains(caf::to_string(m.reason), "the device fell off the bus"));
  EXPECT_FALSE(f.lanes.of(3).alive);
  // Whatever the lane still says reaches nobody.
  f.lanes.finish(3);
  f.lanes.load(3);
  f.lanes.die(3);
  f.batcher.expect_none();
  f.supervisor.expect_none();
}

TEST_CASE("core: when an execution takes too long it gives the lane up, and not a tick before") {
  core_fixture f{{200ms, {}}};
  auto& p = f.lanes.of(3);
  f.start(4);  // waits in the lane for 50 ms
  f.system.advance(50ms);
  p.activity = {f.system.now(), false};
  f.start(4);
  f.system.advance(200ms - 1ns);
  f.supervisor.expect_none();
  f.lanes.finish(3);  // in time, and the next one begins
  p.activity = {f.system.now(), false};
  f.system.advance(200ms - 1ns);
  f.supervisor.expect_none();
  EXPECT(p.alive);
  f.system.advance(1ns);
  auto reason = caf::to_string(f.supervisor.expect<caf::down_msg>().reason);
  EXPECT(contains(reason, "max_execution_time = 200 ms passed while it ran an execution"));
  EXPECT_FALSE(p.alive);
  f.batcher.ignore_the_rest();
}

TEST_CASE("core: an idle lane has not hung, however long it idles") {
  core_fixture f{{200ms, 300ms}};
  f.start(4);
  f.lanes.finish(3);
  f.batcher.ignore_the_rest();
  f.system.advance(10s);
  f.supervisor.expect_none();
  EXPECT(f.lanes.of(3).alive);
  f.start(4);
  f.lanes.of(3).activity = {f.system.now(), false};
  f.system.advance(200ms);
  f.supervisor.expect<caf::down_msg>();
}

TEST_CASE("core: a step of a load has a limit of its own") {
  core_fixture f{{200ms, 1s}};
  auto& p = f.lanes.of(3);
  f.supervisor.send(f.subject, load_model{f.model, 1});
  p.activity = {f.system.now(), true};
  f.system.advance(1s - 1ns);
  f.supervisor.expect_none();
  p.activity = {f.system.now(), true};  // the next step
  f.system.advance(1s - 1ns);
  f.supervisor.expect_none();
  f.system.advance(1ns);
  auto reason = caf::to_string(f.supervisor.expect<caf::down_msg>().reason);
  EXPECT(contains(reason, "max_load_step_time = 1000 ms passed while it loaded a model"));
}

TEST_CASE("core: a step of a load that others wait for has ten times max_execution_time, and 10 s at least") {
  auto limit = std::pair{200ms, 10'000ms};
  SUBCASE("10 s") {}
  SUBCASE("ten times") { limit = {2'000ms, 20'000ms}; }
  core_fixture f{{limit.first, {}}};
  auto& p = f.lanes.of(3);
  f.supervisor.send(f.subject, load_model{f.model, 1});
  p.activity = {f.system.now(), true};
  f.system.advance(1h);  // nobody waits
  f.supervisor.expect_none();
  f.start(4);
  f.system.advance(limit.second - 1ns);
  f.supervisor.expect_none();
  f.system.advance(1ns);
  auto reason = caf::to_string(f.supervisor.expect<caf::down_msg>().reason);
  EXPECT(contains(reason, limit.first == 200ms ? "max_load_step_time = 10000 ms passed while it loaded a model"
                                               : "max_load_step_time = 20000 ms passed while it loaded a model"));
  EXPECT_FALSE(p.alive);
}

TEST_CASE("core: a limit that is longer than the clock can count is as good as none") {
  core_fixture f{{std::chrono::nanoseconds::max(), std::chrono::nanoseconds::max()}};
  f.start(4);
  f.lanes.of(3).activity = {f.system.now(), false};
  f.system.advance(24h);
  f.supervisor.expect_none();
  f.lanes.finish(3);
  f.batcher.ignore_the_rest();
}

TEST_CASE("core: without limits nothing takes too long") {
  core_fixture f;
  f.start(4);
  f.lanes.of(3).activity = {f.system.now(), false};
  f.system.advance(1h);
  f.supervisor.expect_none();
  f.lanes.finish(3);
  f.batcher.ignore_the_rest();
}

TEST_CASE("core: told to quit, it gives its lane up without an error") {
  core_fixture f;
  f.system.end(f.subject);
  EXPECT(f.supervisor.expect<caf::down_msg>().reason == caf::exit_reason::user_shutdown);
  EXPECT_FALSE(f.lanes.of(3).alive);
}

TEST_CASE("core: one that ends while it loads a model answers nothing, and its end says why") {
  core_fixture f;
  f.supervisor.send(f.subject, load_model{f.model, 7});
  f.system.end(f.subject);
  EXPECT(f.supervisor.expect<caf::down_msg>().reason == caf::exit_reason::user_shutdown);
  f.supervisor.expect_none();
  EXPECT_FALSE(f.lanes.of(3).alive);
}

TEST_CASE("core: told to quit, it waits for the reports of what its lane runs, so that the observer hears of them") {
  core_fixture f;
  f.start(4);
  f.start(4);
  caf::anon_send_exit(f.subject, caf::exit_reason::user_shutdown);
  f.lanes.finish(3);
  f.supervisor.expect_none();
  f.lanes.finish(3);
  EXPECT(f.supervisor.expect<caf::down_msg>().reason == caf::exit_reason::user_shutdown);
  EXPECT(f.observed.size() == 2);
  f.batcher.ignore_the_rest();
  EXPECT_FALSE(f.lanes.of(3).alive);
}

TEST_CASE("core: told to quit, it starts nothing more, and gives a lane up that is silent for 100 ms") {
  core_fixture f;
  auto [r, work] = f.start(4);
  caf::anon_send_exit(f.subject, caf::exit_reason::user_shutdown);
  f.start(4);
  EXPECT(f.lanes.started(3) == 1);
  f.system.advance(std::chrono::milliseconds(100) - std::chrono::nanoseconds(1));
  f.supervisor.expect_none();
  EXPECT(f.lanes.of(3).alive);
  f.system.advance(std::chrono::nanoseconds(1));
  EXPECT(f.supervisor.expect<caf::down_msg>().reason == caf::exit_reason::user_shutdown);
  EXPECT_FALSE(f.lanes.of(3).alive);
  f.lanes.finish(3);
  EXPECT(f.observed.empty());
}

TEST_CASE("core: without a batcher its reports go nowhere") {
  puppet_lanes lanes;
  deterministic_system system;
  probe supervisor{system};
  auto subject = spawn_core(supervisor.parent(), {{0, 1, {}}, lanes.factory(), {}, {}});
  auto target = deployment_of(plus_one_model(4), 1, {0});
  auto r = make_request(target, 4);
  r.value->plan(true, {});
  auto work = std::make_shared<execution>();
  work->batch = 4;
  work->parts.push_back({r.value, &r.value->add_slot(0, 4, 0), 0, 0});
  supervisor.send(subject, start_execution{work});
  lanes.finish(0);
  system.run();
  EXPECT(r.got->only().ok());
  system.end(subject);
}

TEST_CASE("core: it is not spawned with a bad configuration") {
  core_fixture f;
  core_config none{{3, 1, {}}, {}, {}, {}};
  EXPECT(contains(validate(none).error().text, "make_lane of core nc:3 is empty"));
  EXPECT_THROWS_AS(spawn_core(f.supervisor.parent(), none), error);
  core_config idle{{3, 0, {}}, f.lanes.factory(), {}, {}};
  EXPECT(contains(validate(idle).error().text, "core nc:3 has 0 threads"));
  core_config hasty{{3, 1, {}}, f.lanes.factory(), {}, {}, {0ns, {}}};
  EXPECT(contains(validate(hasty).error().text, "max_execution_time is 0 ns, but must be positive"));
  core_config backwards{{3, 1, {}}, f.lanes.factory(), {}, {}, {{}, -5ns}};
  EXPECT(contains(validate(backwards).error().text, "max_load_step_time is -5 ns, but must be positive"));
  EXPECT_THROWS_AS(spawn_core(f.supervisor.parent(), idle), error);
}

TEST_CASE("core: whatever keeps its lane from being made, it dies with a sentence") {
  auto reason = [](const lane_factory& make) {
    core_fixture f;
    auto subject = spawn_core(f.supervisor.parent(), {{3, 1, {}}, make, {}, {}});
    f.supervisor.watch(subject.address());
    return caf::to_string(f.supervisor.expect<caf::down_msg>().reason);
  };
  using made = std::unique_ptr<lane>;
  EXPECT(contains(reason([](auto&, auto) -> made { throw std::runtime_error("no thread"); }), "made: no thread"));
  EXPECT(
      contains(reason([](auto&, auto) -> made { throw 7; }), "made: make_lane threw something that is no exception"));
  EXPECT(contains(reason([](auto&, auto) -> made { return nullptr; }), "made: make_lane returned null"));
}

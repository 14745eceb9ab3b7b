#include "supervisor_fixture.hpp"

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

// -- configuration ----------------------------------------------------------------------------------------------------

TEST_CASE("supervisor: configurations that cannot be used are refused with a sentence") {
  puppet_lanes lanes;
  auto refused = [&lanes](const std::function<void(supervisor_config&)>& change) {
    auto config = supervisor_fixture::puppet_cores(lanes, 2);
    REQUIRE(validate(config).has_value());
    change(config);
    auto valid = validate(config);
    REQUIRE(valid.has_error());
    EXPECT(valid.error().text.size() > 20);
    return valid.error().code;
  };
  EXPECT(refused([](auto& c) { c.cores.clear(); }) == errc::core_unavailable);
  EXPECT(refused([](auto& c) { c.make_lane = {}; }) == errc::invalid_argument);
  EXPECT(refused([](auto& c) { c.cores[1].core = 5; }) == errc::invalid_argument);
  EXPECT(refused([](auto& c) { c.cores[0].threads = 0; }) == errc::invalid_argument);
  EXPECT(refused([](auto& c) { c.restart.first = 0ms; }) == errc::invalid_argument);
  EXPECT(refused([](auto& c) { c.restart.most = 5ms; }) == errc::invalid_argument);
  EXPECT(refused([](auto& c) { c.restart.lost_after = 0; }) == errc::invalid_argument);
  EXPECT(refused([](auto& c) { c.batcher.credits.executions = 0; }) == errc::invalid_argument);
  EXPECT(refused([](auto& c) { c.batcher.credits.least_together = -1e-6; }) == errc::invalid_argument);
  EXPECT(refused([](auto& c) { c.batcher.credits.most_together = 1e-6; }) == errc::invalid_argument);
}

TEST_CASE("supervisor: it is not spawned with a bad configuration") {
  deterministic_system system;
  auto f = failure_of([&] { spawn_supervisor(system.system(), {}); });
  EXPECT(f.code == errc::core_unavailable);
  EXPECT(system.alive() == 0);
}

// -- deploy -----------------------------------------------------------------------------------------------------------

TEST_CASE("supervisor: a model is loaded on all cores, and its coordinator serves") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  EXPECT(d.target->cores == std::vector<std::size_t>{0, 1});
  EXPECT(f.lanes.of(0).loaded.size() == 1);
  EXPECT(f.lanes.of(1).loaded.size() == 1);
  f.infer(d.coordinator, 1, 8);
  f.finish(1);
  f.finish(0);
  f.expect_answered(1, 8);
}

TEST_CASE("supervisor: cores are used in the order given") {
  supervisor_fixture f;
  auto d = f.deploy_model(f.wish(plus_one_model(4), {1, 0}));
  EXPECT(d.target->cores == std::vector<std::size_t>{1, 0});
  f.infer(d.coordinator, 1);
  EXPECT(f.lanes.started(1) == 1);
  f.finish(1);
  f.expect_answered(1);
}

TEST_CASE("supervisor: who is no actor gets the answer to a deploy through its function, once") {
  supervisor_fixture f;
  std::vector<deployed> got;
  auto m = f.wish();
  m.reply = [&got](const deployed& d) { got.push_back(d); };
  caf::anon_send(f.subject, m);
  f.system.run();
  REQUIRE(got.size() == 1);
  EXPECT(got[0].ok());
  m.dim = 9;
  caf::anon_send(f.subject, m);
  f.system.run();
  REQUIRE(got.size() == 2);
  EXPECT(got[1].error.code == errc::dim_out_of_range);
}

TEST_CASE("supervisor: a deploy is answered when the last core has loaded") {
  supervisor_fixture f;
  f.lanes.loads_at_once = false;
  f.client.ask<deployed>(f.subject, f.wish());
  f.lanes.load(1);
  f.client.expect_none();
  f.lanes.load(0);
  EXPECT(f.client.expect<deployed>().ok());
}

TEST_CASE("supervisor: deploys that cannot be are refused with their code and load nothing") {
  supervisor_fixture f{[](auto& c) { c.core_memory_bytes = 1'000; }};
  auto with = [&f](const std::function<void(deploy&)>& change) {
    auto m = f.wish();
    change(m);
    return f.refused(m);
  };
  EXPECT(with([](auto& m) { m.cores = {0, 2}; }).code == errc::invalid_device_id);
  EXPECT(contains(with([](auto& m) { m.cores = {7}; }).text, "there is no core nc:7: 2 are visible"));
  EXPECT(with([](auto& m) { m.cores = {1, 1}; }).code == errc::invalid_device_id);
  EXPECT(with([](auto& m) { m.num_workers = 0; }).code == errc::invalid_argument);
  EXPECT(with([](auto& m) { m.split_size = 0; }).code == errc::invalid_argument);
  EXPECT(with([](auto& m) { m.dim = 5; }).code == errc::dim_out_of_range);
  EXPECT(f.lanes.of(0).loaded.empty());
  EXPECT(f.ask_status().cores[0].models == 0);
}

TEST_CASE("supervisor: a model that does not fit a core's memory is refused with both sizes, until another goes") {
  auto large = trace(test_modules::linear(4, 50), {at::zeros({1, 4})}, {auto_cast::none, false});
  auto other = trace(test_modules::linear(4, 50), {at::zeros({1, 4})}, {auto_cast::none, false});
  auto bytes = large.weight_bytes();
  supervisor_fixture f{[bytes](auto& c) { c.core_memory_bytes = bytes + bytes / 2; }};
  auto first = f.deploy_model(f.wish(large, {0}));
  auto full = f.refused(f.wish(other, {0}));
  EXPECT(full.code == errc::core_memory_exceeded);
  EXPECT(contains(full.text, fmt::format("needs {} bytes on core nc:0, where {} of {} are in use", bytes, bytes,
                                         bytes + bytes / 2)));
  auto same = f.deploy_model(f.wish(large, {0}));  // it is there already
  f.deploy_model(f.wish(other, {1}));
  first = {};
  same = {};
  f.system.run();
  f.deploy_model(f.wish(other, {0}));
}

TEST_CASE("supervisor: a warm-up that fails fails the deploy, and the model leaves the other cores") {
  supervisor_fixture f;
  f.lanes.loads_at_once = false;
  f.client.ask<deployed>(f.subject, f.wish());
  f.lanes.load(0, {errc::forward_failed, "the warm-up failed", -1, -1, 0});
  f.client.expect_none();
  f.lanes.load(1);
  auto d = f.client.expect<deployed>();
  EXPECT(d.error.code == errc::forward_failed);
  EXPECT(d.error.text == "the warm-up failed");
  EXPECT(f.lanes.of(1).unloaded.size() == 1);
  f.lanes.loads_at_once = true;
  auto again = f.deploy_model();
  f.infer(again.coordinator, 1);
  f.finish(0);
  f.expect_answered(1);
}

TEST_CASE("supervisor: a model that is there already is not loaded again, and stays until its last deployment goes") {
  supervisor_fixture f;
  auto a = f.deploy_model(), b = f.deploy_model();
  EXPECT(f.lanes.of(0).loaded.size() == 1);
  a = {};
  f.system.run();
  EXPECT(f.lanes.of(0).unloaded.empty());
  f.infer(b.coordinator, 1);
  f.finish(0);
  f.expect_answered(1);
  b = {};
  f.system.run();
  EXPECT(f.lanes.of(0).unloaded.size() == 1);
  EXPECT(f.lanes.of(1).unloaded.size() == 1);
  EXPECT(f.ask_status().cores[0].models == 0);
}

TEST_CASE("supervisor: two deploys of one model under way at once both wait for it, and both fail with it") {
  for (bool fails : {false, true}) {
    supervisor_fixture f;
    f.lanes.loads_at_once = false;
    f.client.ask<deployed>(f.subject, f.wish(plus_one_model(4), {0}));
    f.client.ask<deployed>(f.subject, f.wish(plus_one_model(4), {0}));
    f.client.expect_none();
    while (!f.lanes.of(0).loading.empty()) {
      f.lanes.load(0, fails ? failure{errc::forward_failed, "the warm-up failed"} : failure{});
      f.system.run();
    }
    for (int i = 0; i < 2; ++i) EXPECT(f.client.expect<deployed>().ok() == !fails);
    if (fails) EXPECT(f.ask_status().cores[0].models == 0);
  }
}

TEST_CASE("supervisor: dynamic batching that is not possible is warned of, and off") {
  supervisor_fixture f;
  auto m = f.wish(trace(test_modules::minus_batch_mean(), {at::zeros({4, 2})}, {auto_cast::none, false}));
  m.warnings = std::make_shared<warning_log>();
  auto d = f.deploy_model(m);
  auto said = m.warnings->sentences();
  EXPECT(
      std::any_of(said.begin(), said.end(), [](auto& s) { return contains(s, "dynamic batching cannot be enabled"); }));
  f.infer(d.coordinator, 1, 4);
  f.expect_failed(1, errc::batch_size_mismatch);

  auto along_columns = f.wish();
  along_columns.dim = 1;
  along_columns.warnings = std::make_shared<warning_log>();
  f.deploy_model(along_columns);
  said = along_columns.warnings->sentences();
  EXPECT(std::any_of(said.begin(), said.end(), [](auto& s) { return contains(s, "dim = 1 is not 0"); }));
}

// -- status -----------------------------------------------------------------------------------------------------------

TEST_CASE("supervisor: a status has every core, the queue and what is in flight") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1, 14);
  f.die(1);
  auto s = f.ask_status();
  REQUIRE(s.cores.size() == 2);
  EXPECT(s.cores[0].index == 0);
  EXPECT(s.cores[0].up);
  EXPECT(s.cores[0].models == 1);
  EXPECT(s.cores[1].index == 1);
  EXPECT_FALSE(s.cores[1].up);
  EXPECT(s.cores[1].restarts == 1);
  EXPECT(s.queued_rows == 6);
  EXPECT(s.queued_bytes == 48);
  EXPECT(s.unanswered == 1);
  EXPECT(s.executions_in_flight == 1);
  while (f.lanes.started(0) > 0) f.finish(0);
  f.expect_answered(1, 14);
  s = f.ask_status();
  EXPECT(s.cores[0].executions == 4);
  EXPECT(s.cores[0].rows == 14);
  EXPECT(s.cores[0].padding_rows == 2);
  EXPECT(s.queued_rows == 0);
  EXPECT(s.unanswered == 0);
}

TEST_CASE("supervisor: who is no actor gets a status through its function") {
  supervisor_fixture f;
  std::size_t cores = 0;
  caf::anon_send(f.subject, status_for{[&cores](const status& s) { cores = s.cores.size(); }});
  f.system.run();
  EXPECT(cores == 2);
}

TEST_CASE("supervisor: a status comes although nobody answers for it in time") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.client.post(f.subject, status_query{});
  REQUIRE(f.system.step());      // the supervisor asks
  f.system.advance_alone(1s);    // and all others are silent for the whole timeout
  auto s = f.client.expect<status>();
  REQUIRE(s.cores.size() == 2);
  EXPECT_FALSE(s.cores[0].up);
  EXPECT(s.cores[1].index == 1);
  EXPECT(f.ask_status().cores[0].up);
}

// -- drain ------------------------------------------------------------------------------------------------------------

TEST_CASE("supervisor: a drain of an idle engine ends at once and refuses what comes") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.client.ask<drained>(f.subject, drain{});
  EXPECT(f.client.expect<drained>().unanswered == 0);
  f.infer(d.coordinator, 1);
  f.expect_failed(1, errc::draining);
}

TEST_CASE("supervisor: a drain waits for what was accepted, and every drain is answered") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1, 9);
  f.client.ask<drained>(f.subject, drain{60'000});
  f.client.ask<drained>(d.coordinator, drain{60'000});
  f.finish(0);
  f.finish(1);
  f.client.expect_none();
  f.finish(0);
  f.expect_answered(1, 9);
  for (int i = 0; i < 2; ++i) EXPECT(f.client.expect<drained>().unanswered == 0);
  f.system.advance(1h);
  f.client.expect_none();
}

TEST_CASE("supervisor: a drain does not wait for a delay: no row comes any more that would fill the batch") {
  supervisor_fixture f;
  auto wanted = f.wish();
  wanted.coalescing.max_queue_delay = 1h;
  auto d = f.deploy_model(std::move(wanted));
  f.infer(d.coordinator, 1, 1);
  EXPECT(f.lanes.started(0) + f.lanes.started(1) == 0);
  f.client.ask<drained>(f.subject, drain{60'000});
  f.finish(0);
  f.expect_answered(1, 1);
  EXPECT(f.client.expect<drained>().unanswered == 0);
}

TEST_CASE("supervisor: a drain ends at its bound with the number of the unanswered, and not before") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1);
  f.infer(d.coordinator, 2);
  f.client.ask<drained>(f.subject, drain{50});
  f.system.advance(49ms);
  f.client.expect_none();
  f.system.advance(1ms);
  EXPECT(f.client.expect<drained>().unanswered == 2);
  f.finish(0);
  f.expect_answered(1);
  f.finish(1);
  f.expect_answered(2);
  f.client.expect_none();
}

TEST_CASE("supervisor: a drain without time, or with all the time there is, is answered too") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1);
  f.client.ask<drained>(f.subject, drain{-1});
  f.system.advance(0ms);
  EXPECT(f.client.expect<drained>().unanswered == 1);
  f.client.ask<drained>(f.subject, drain{std::numeric_limits<std::int64_t>::max()});
  f.system.advance(24h);
  f.client.expect_none();
  f.finish(0);
  f.expect_answered(1);
  EXPECT(f.client.expect<drained>().unanswered == 0);
}

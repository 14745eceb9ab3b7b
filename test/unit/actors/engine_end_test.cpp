#include "supervisor_fixture.hpp"

#include <ganglion/actors/core/cpu_lane.hpp>

#include <future>
#include <set>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

// Every test here also ends its actor system, which fails where an actor is still alive.

TEST_CASE("engine's end: a supervisor that is told to quit takes everybody with it") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.client.watch(f.subject.address());
  f.client.watch(d.coordinator.address());
  f.system.end(f.subject);
  EXPECT(f.client.expect<caf::down_msg>().source == d.coordinator.address());
  auto m = f.client.expect<caf::down_msg>();
  EXPECT(m.source == f.subject.address());
  EXPECT(m.reason == caf::exit_reason::user_shutdown);
  EXPECT(f.system.alive() == 1);  // the client
  EXPECT_FALSE(f.lanes.of(0).alive);
  EXPECT_FALSE(f.lanes.of(1).alive);
}

TEST_CASE(
    "engine's end: coordinators go, then the batcher, which answers what is left, then cores, then the supervisor") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  std::vector<std::string> order;
  auto note = [&f, &order](const std::string& what) {
    order.push_back(what + (f.lanes.of(0).alive && f.lanes.of(1).alive ? " before the cores" : " after the cores"));
  };
  d.coordinator->attach_functor([&note] { note("coordinator"); });
  f.subject->attach_functor([&note] { note("supervisor"); });
  auto waits = request::admit(request::next_id(), d.target, {{numbered_rows(40)}, 40}, f.gate, [&note](response&& r) {
                 note("batcher: " + std::string{to_string(r.error.code)});
               }).value();
  caf::anon_send(d.coordinator, submission{std::move(waits)});
  f.system.run();
  f.system.end(f.subject);
  EXPECT(order == std::vector<std::string>{"coordinator before the cores", "batcher: draining before the cores",
                                           "supervisor after the cores"});
}

TEST_CASE("engine's end: requests that wait and run are answered with draining, by message and by sink") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  auto embedded = make_request(d.target, 40, f.gate);
  caf::anon_send(d.coordinator, submission{embedded.value});
  embedded.value.reset();
  for (std::uint64_t id : {1, 2, 3}) f.infer(d.coordinator, id);
  auto running = f.lanes.begin(0);
  f.system.end(f.subject);
  std::set<std::uint64_t> answered_ids;
  for (int i = 0; i < 3; ++i) {
    auto m = f.client.expect<infer_response>();
    EXPECT(m.error.code == errc::draining);
    answered_ids.insert(m.id);
  }
  EXPECT(answered_ids == std::set<std::uint64_t>{1, 2, 3});
  REQUIRE(embedded.got->once());
  EXPECT(embedded.got->only().error.code == errc::draining);
  EXPECT_FALSE(f.lanes.complete(running, 0).ran);
  EXPECT(f.gate->unanswered() == 0);
  EXPECT(f.gate->queued_rows() == 0);
}

TEST_CASE("engine's end: a deploy under way is answered with draining, and so is one that comes too late") {
  supervisor_fixture f;
  f.lanes.loads_at_once = false;
  f.client.ask<deployed>(f.subject, f.wish());
  f.client.post(f.subject, f.wish());
  caf::anon_send_exit(f.subject, caf::exit_reason::user_shutdown);
  f.client.post(f.subject, f.wish());
  for (int i = 0; i < 2; ++i) EXPECT(f.client.expect<deployed>().error.code == errc::draining);
  // The last may also have found nobody.
  if (f.client.has<deployed>()) EXPECT(f.client.expect<deployed>().error.code == errc::draining);
}

TEST_CASE("engine's end: a drain under way is answered, also where somebody never ends") {
  supervisor_fixture f;
  REQUIRE_FALSE(f.gate->enter(1, 1));  // it is never answered
  f.client.ask<drained>(f.subject, drain{60'000});
  f.client.expect_none();
  f.system.end(f.subject);
  EXPECT(f.client.expect<drained>().unanswered == 1);
  f.gate->leave_queue(1, 1);
  f.gate->answered();
}

TEST_CASE("engine's end: at whichever moment a drain and a status are asked for, each is answered") {
  for (int moment = 0, ended = 0; ended == 0; ++moment) {
    NOTE("after " << moment << " messages");
    supervisor_fixture f;
    const auto d = f.deploy_model();
    caf::anon_send_exit(f.subject, caf::exit_reason::user_shutdown);
    for (int i = 0; i < moment; ++i) f.system.step();
    ended = f.system.alive() == 1;
    // In one go, so that they come right before whatever comes next.
    f.client.post_request<drained>(f.subject, drain{60'000});
    f.client.post_request<status>(f.subject, status_query{});
    f.system.run();
    for (int answers = 0; answers < 2; ++answers) {
      if (f.client.has<drained>())
        EXPECT(f.client.take<drained>().unanswered == 0);
      else if (f.client.has<status>())
        EXPECT(f.client.take<status>().unanswered == 0);
      else
        f.client.take<caf::error>();  // nobody was there any more
    }
    f.system.advance(1s);
  }
}

TEST_CASE("engine's end: a core that is about to start again stays away") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.die(0);
  f.client.post(f.subject, restart_core{0});
  caf::anon_send_exit(f.subject, caf::exit_reason::user_shutdown);
  f.system.run();
  f.system.advance(1s);
  EXPECT(f.system.alive() == 1);
  EXPECT_FALSE(f.lanes.of(0).alive);
}

TEST_CASE("engine's end: without handles and without an exit message it goes by itself") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1);
  f.finish(0);
  f.expect_answered(1);
  f.subject = nullptr;
  f.system.run();
  EXPECT(f.lanes.of(0).alive);  // the coordinator keeps it
  f.infer(d.coordinator, 2);
  f.finish(0);
  f.expect_answered(2);
  d = {};
  f.system.run();
  EXPECT(f.system.alive() == 1);
  EXPECT_FALSE(f.lanes.of(0).alive);
}

TEST_CASE("engine's end: when all handles are dropped, what came by message is still answered, and then it goes") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1, 12);
  f.subject = nullptr;
  d = {};
  f.system.run();
  f.finish(0);
  f.finish(1);
  EXPECT(f.system.alive() > 1);
  f.finish(0);
  f.expect_answered(1, 12);
  EXPECT(f.system.alive() == 1);
}

TEST_CASE("engine's end: what was submitted and is open when all handles are dropped is answered with draining") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  auto embedded = make_request(d.target, 40, f.gate);
  caf::anon_send(d.coordinator, submission{embedded.value});
  embedded.value.reset();
  f.system.run();
  f.subject = nullptr;
  d = {};
  f.system.run();
  REQUIRE(embedded.got->once());
  EXPECT(embedded.got->only().error.code == errc::draining);
  EXPECT(f.gate->unanswered() == 0);
  EXPECT(f.system.alive() == 1);
}

TEST_CASE("engine's end: a deployment whose coordinator goes finishes nothing more of its own, and others live on") {
  supervisor_fixture f;
  auto a = f.deploy_model(f.wish(plus_one_model(4))), b = f.deploy_model(f.wish(plus_one_model(2)));
  f.infer(a.coordinator, 1, 4);
  caf::anon_send_exit(a.coordinator, caf::exit_reason::kill);
  f.system.run();
  f.expect_failed(1, errc::draining);
  EXPECT(f.lanes.of(0).unloaded.empty());  // its accepted work still runs
  f.finish(0);
  EXPECT(f.lanes.of(0).unloaded == std::vector<std::uint64_t>{plus_one_model(4).id()});
  f.infer(b.coordinator, 2, 2);
  f.finish(0);
  f.expect_answered(2, 2);
}

TEST_CASE("engine's end: the death of the batcher ends the engine in order, and everybody is answered") {
  supervisor_fixture f;
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1, 12);
  f.client.watch(f.subject.address());
  auto embedded = make_request(d.target, 3, f.gate);
  caf::anon_send(d.coordinator, submission{embedded.value});
  embedded.value.reset();
  f.system.kill("ganglion.batcher");
  REQUIRE_FALSE(f.said.empty());
  EXPECT(f.said.back() == "the batcher died; the engine ends");
  f.expect_failed(1, errc::draining);
  REQUIRE(embedded.got->once());
  EXPECT(embedded.got->only().error.code == errc::draining);
  f.system.advance(1s);  // for what the lanes run
  EXPECT(f.client.expect<caf::down_msg>().source == f.subject.address());
  EXPECT(f.system.alive() == 1);
}

// -- with real threads ------------------------------------------------------------------------------------------------

TEST_CASE("engine's end: a real system with real lanes goes by itself when all handles are dropped, work open or not") {
  for (int round = 0; round < 20; ++round) {
    auto got = std::make_shared<answers>();
    auto answer = std::make_shared<std::promise<response>>();
    auto future = answer->get_future();
    {
      caf::actor_system_config config;
      config.set("scheduler.policy", caf::atom("sharing"));
      config.set("scheduler.max-threads", 2u);
      config.add_message_types<caf::id_block::ganglion>();
      caf::actor_system system{config};
      auto settings = cpu_cores(2);
      settings.gate = std::make_shared<admission>();
      auto gate = settings.gate;
      auto supervisor = spawn_supervisor(system, std::move(settings));
      auto made = std::make_shared<std::promise<deployed>>();
      deploy m{plus_one_model(4)};
      m.reply = [made](const deployed& d) { made->set_value(d); };
      auto ready = made->get_future();
      caf::anon_send(supervisor, std::move(m));
      made.reset();
      REQUIRE(ready.wait_for(60s) == std::future_status::ready);
      auto d = ready.get();
      REQUIRE(d.ok());
      auto r = request::admit(request::next_id(), d.target, {{numbered_rows(10)}, 10}, gate, [answer](response&& o) {
                 answer->set_value(std::move(o));
               }).value();
      caf::anon_send(d.coordinator, submission{std::move(r)});
      // In every other round the handles go while the request is on its way.
      if (round % 2 == 0) REQUIRE(future.wait_for(60s) == std::future_status::ready);
      caf::logger::set_current_actor_system(nullptr);
    }
    REQUIRE(future.wait_for(60s) == std::future_status::ready);
    auto o = future.get();
    NOTE(o.error.text);
    if (o.ok())
      EXPECT(at::equal(o.outputs.toTensor(), numbered_rows(10) + 1));
    else
      EXPECT((round % 2 == 1 && retryable(o.error.code)));
  }
  EXPECT(wait_for_abandoned_lanes(60s));
}

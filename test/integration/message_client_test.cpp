// Clients by message on the real scheduler, in an actor_system of their own.
#include <support/calls.hpp>
#include <support/forward_gate.hpp>

#include <ganglion/actors/core/cpu_lane.hpp>
#include <ganglion/actors/supervisor/supervisor.hpp>

#include <caf/all.hpp>

#include <future>
#include <thread>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

struct settings : caf::actor_system_config {
  settings() {
    set("scheduler.policy", caf::atom("sharing"));
    set("scheduler.max-threads", 2u);
    add_message_types<caf::id_block::ganglion>();
  }
};

/// The reply to a message, for which a thread waits.
template <class Reply, class Handle, class Message>
Reply ask(caf::scoped_actor& self, const Handle& to, Message m) {
  Reply reply;
  self->request(to, 60s, std::move(m))
      .receive([&](Reply& r) { reply = std::move(r); },
               [&](caf::error& e) { DOCTEST_FAIL("no reply: " << self->system().render(e)); });
  return reply;
}

infer_request request_of(std::uint64_t id, at::Tensor x) {
  infer_request m;
  m.id = id;
  m.inputs.value = c10::ivalue::Tuple::create({std::move(x)});
  return m;
}

}  // namespace

TEST_CASE("a client's own system ends while a forward of a request of its hangs, whom no limit ends") {
  REQUIRE(wait_for_abandoned_lanes(1min));
  forward_gate gate{0};
  auto model = compiled(gated_plus_one(), {at::ones({8, 3})});
  auto ended = std::async(std::launch::async, [&] {
    settings config;
    caf::actor_system system{config};
    {
      caf::scoped_actor client{system};
      auto supervisor = spawn_supervisor(system, cpu_cores(1));
      auto made = ask<deployed>(client, supervisor, deploy{model});
      REQUIRE(made.ok());
      gate.let_pass(0);
      client->send(made.coordinator, request_of(1, at::ones({5, 3})));
      REQUIRE(gate.wait_for(1));
    }
    caf::logger::set_current_actor_system(nullptr);
  });
  EXPECT(ended.wait_for(30s) == std::future_status::ready);
  EXPECT(gate.stands(1));
  EXPECT(abandoned_lanes().count == 1);
  gate.open();
  EXPECT(wait_for_abandoned_lanes(1min));
}

TEST_CASE("a client that goes away takes back what waits of its requests, and others are answered") {
  constexpr std::uint64_t many = 2'000;
  settings config;
  caf::actor_system system{config};
  caf::scoped_actor staying{system};
  auto supervisor = spawn_supervisor(system, cpu_cores(1));
  auto made = ask<deployed>(staying, supervisor, deploy{compiled(gated_plus_one(), {at::ones({8, 3})})});
  REQUIRE(made.ok());
  auto status_now = [&] { return ask<status>(staying, supervisor, status_query{}); };
  {
    forward_gate gate;
    {
      caf::scoped_actor leaving{system};
      for (std::uint64_t id = 1; id <= many; ++id) leaving->send(made.coordinator, request_of(id, at::ones({5, 3})));
      REQUIRE(gate.wait_for(1));
      staying->send(made.coordinator, request_of(1, counted({2, 3})));
      while (status_now().unanswered < many) std::this_thread::yield();
    }
    // All but the one that stands in the door, and the other client's.
    auto end = std::chrono::steady_clock::now() + 60s;
    while (status_now().unanswered > 3 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    EXPECT(status_now().unanswered <= 3);
  }
  bool answered = false;
  staying->receive([&](infer_response& r) {
                     NOTE(r.error.text);
                     REQUIRE(r.ok());
                     EXPECT(same(r.outputs.value.toTensor(), counted({2, 3}) + 1));
                     EXPECT(r.timing.executions == 1);
                     EXPECT(r.timing.cores == std::vector<std::size_t>{0});
                     EXPECT((r.timing.queued + r.timing.compute + r.timing.gather).count() <= r.total_ns);
                     answered = true;
                   },
                   caf::after(60s) >> [] {});
  EXPECT(answered);
  // What stood in the door ended, for nobody, and the staying client's ran after it; an answer may overtake the core's
  // count of it.
  status last;
  EXPECT(soon([&] {
    last = status_now();
    return last.cores.at(0).executions == 2;
  }));
  EXPECT(last.queued_rows == 0);
  EXPECT(last.models.at(0).outcomes.at(static_cast<std::size_t>(errc::cancelled)) == many);
  caf::logger::set_current_actor_system(nullptr);
}

#pragma once

#include <support/doctest.hpp>

#include <ganglion/actors/protocol/handles.hpp>

#include <caf/all.hpp>
#include <caf/scheduler/test_coordinator.hpp>

#include <chrono>
#include <memory>
#include <string_view>

namespace ganglion::test {

/// An actor system on CAF's test scheduler: nothing runs until told to, and time moves only when moved. Its destructor
/// fails the test where an actor is still alive.
class deterministic_system {
 public:
  deterministic_system() : system_(config_) {}
  ~deterministic_system() {
    run();
    auto alive = system_.registry().running();
    EXPECT(alive == 0);
    // Rather a failed test than one that hangs.
    if (alive > 0) system_.await_actors_before_shutdown(false);
    caf::logger::set_current_actor_system(nullptr);
  }
  deterministic_system(const deterministic_system&) = delete;
  deterministic_system& operator=(const deterministic_system&) = delete;

  caf::actor_system& system() { return system_; }
  /// Runs messages until none is left. Returns how many.
  std::size_t run() { return scheduler().run(); }
  /// Runs one message.
  bool step() { return scheduler().try_run_once(); }
  /// Moves the clock, fires what is due, and runs what came of it.
  void advance(std::chrono::nanoseconds time) {
    run();
    advance_alone(time);
    run();
  }
  /// Moves the clock and fires what is due, while all messages wait.
  void advance_alone(std::chrono::nanoseconds time) {
    scheduler().advance_time(std::chrono::duration_cast<caf::timespan>(time));
  }
  caf::actor_clock::time_point now() { return scheduler().clock().now(); }
  /// The number of actors that are alive.
  std::size_t alive() { return system_.registry().running(); }

  /// The number of messages that come at a later time.
  std::size_t timers() { return scheduler().clock().schedule().size(); }

  /// Lets an actor quit and runs until it has, for as much time as it may take.
  template <class Handle>
  void end(const Handle& actor) {
    caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
    advance(std::chrono::seconds(1));
  }
  /// Runs messages until it is the turn of an actor of that name, and kills it before it runs.
  void kill(std::string_view name) {
    while (next_name() != name) {
      NOTE(name);
      REQUIRE(step());
    }
    caf::anon_send_exit(scheduler().next_job<caf::scheduled_actor>().address(), caf::exit_reason::kill);
    run();
  }

 private:
  struct config : caf::actor_system_config {
    config() {
      set("scheduler.policy", caf::atom("testing"));
      add_message_types<caf::id_block::ganglion>();
    }
  };

  std::string_view next_name() {
    return scheduler().has_job() ? scheduler().next_job<caf::scheduled_actor>().name() : "";
  }

  caf::scheduler::test_coordinator& scheduler() {
    return dynamic_cast<caf::scheduler::test_coordinator&>(system_.scheduler());
  }

  config config_;
  caf::actor_system system_;
};

}  // namespace ganglion::test

#pragma once

#include <ganglion/actors/protocol/handles.hpp>

#include <caf/all.hpp>
#include <caf/scheduler/test_coordinator.hpp>

#include <chrono>
#include <deque>
#include <memory>
#include <utility>

namespace ganglion::test {

/// An actor system on CAF's test scheduler: nothing runs until told to, and time moves only when moved.
class deterministic_system {
 public:
  deterministic_system() : system_(config_) {}
  ~deterministic_system() { caf::logger::set_current_actor_system(nullptr); }

  caf::actor_system& system() { return system_; }
  /// Runs messages until none is left. Returns how many.
  std::size_t run() { return scheduler().run(); }
  /// Runs one message.
  bool step() { return scheduler().try_run_once(); }
  /// Moves the clock, fires what is due, and runs what came of it.
  void advance(std::chrono::nanoseconds time) {
    scheduler().advance_time(std::chrono::duration_cast<caf::timespan>(time));
    run();
  }
  caf::actor_clock::time_point now() { return scheduler().clock().now(); }

  /// Lets an actor quit and runs until it has.
  template <class Handle>
  void end(const Handle& actor) {
    caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
    run();
  }

 private:
  struct config : caf::actor_system_config {
    config() {
      set("scheduler.policy", caf::atom("testing"));
      add_message_types<caf::id_block::ganglion>();
    }
  };

  caf::scheduler::test_coordinator& scheduler() {
    return dynamic_cast<caf::scheduler::test_coordinator&>(system_.scheduler());
  }

  config config_;
  caf::actor_system system_;
};

/// A parent for `spawn_core` and the like, and a client for what is sent by message: an actor that keeps what it gets.
/// Messages are collected, never handled; `take<T>()` returns the oldest of a type.
class inbox {
 public:
  explicit inbox(deterministic_system& on) : system_(on), self_(on.system()) {}

  caf::scoped_actor& self() { return self_; }
  caf::local_actor& parent() { return *self_.ptr(); }

  template <class Handle, class Message>
  void send(const Handle& to, Message m) {
    self_->send(to, std::move(m));
  }

  /// The oldest message of a type that has come; nothing if there is none. Others stay.
  template <class T>
  std::optional<T> take() {
    std::optional<T> result;
    self_->receive([&result](const T& m) { result = m; }, caf::after(std::chrono::seconds(0)) >> [] {});
    return result;
  }

 private:
  deterministic_system& system_;
  caf::scoped_actor self_;
};

}  // namespace ganglion::test

#pragma once

#include "completions.hpp"
#include "forks.hpp"
#include "trace_file.hpp"

#include <ganglion/actors/supervisor/supervisor.hpp>
#include <ganglion/engine/core_lock.hpp>
#include <ganglion/engine/cpu_allowance.hpp>
#include <ganglion/engine/cpu_ledger.hpp>
#include <ganglion/engine/engine.hpp>

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>

#include <atomic>
#include <future>

namespace ganglion {

/// What an engine and its data_parallels share. The actors end with the engine; the actor system itself lives until
/// the last data_parallel has let go of its handle.
struct engine::state {
  explicit state(engine_options given);
  ~state();

  /// Ends all actors in order, once. Returns when they have ended.
  void shut_down();
  bool drain(std::chrono::milliseconds bound);
  void log(log_level level, std::string_view sentence) const { options.log(level, sentence); }
  /// Whether this is the copy that a fork left in a child: its threads are not here, and nothing may wait for them.
  bool is_forked_copy() const noexcept { return forks != fork_count(); }
  /// Throws `core_unavailable` where it is.
  void refuse_forked_copy() const;

  unsigned forks = fork_count();
  engine_options options;
  cpu_allowance allowance;
  reserved_cores reserved;
  std::optional<cpu_booking> booking;
  std::shared_ptr<admission> gate;
  caf::actor_system_config system_config;
  std::optional<caf::actor_system> system;
  supervisor_actor supervisor;
  std::shared_future<void> supervisor_ended;
  std::shared_ptr<trace_file> trace;
  std::atomic<bool> shut{false};
  completions done;
};

/// Waits for an answer that an actor gives through a promise: the value, or `draining` where the actor ended without.
template <class T>
T wait_for_answer(std::future<T> answer) {
  try {
    return answer.get();
  } catch (const std::future_error&) {
    throw error(errc::draining, "the engine has ended: make another one");
  }
}

/// Refuses what would wait on one of the engine's own threads.
void refuse_engine_thread(std::string_view what);

}  // namespace ganglion

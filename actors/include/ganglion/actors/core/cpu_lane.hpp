#pragma once

#include <ganglion/actors/core/lane.hpp>

#include <chrono>

namespace ganglion {

/// A lane of one pinned thread, with its own intra-op threads. The thread is ours, not a detached actor: CAF would wait
/// for that one for ever, while a thread that hangs in a forward can be left behind.
/// Destroyed while idle, it joins its thread; while executing, it leaves the thread to end by itself, at the lowest
/// priority that there is, like its intra-op threads.
std::unique_ptr<lane> make_cpu_lane(const lane_config& config, std::shared_ptr<lane_sink> sink);

/// Threads of given-up lanes that have not ended yet, one a lane, and what they keep alive.
struct abandoned_threads {
  std::size_t count = 0;
  /// Of the weights of models loaded or being loaded, which may be shared with other cores, and of the inputs of what
  /// they run.
  std::size_t bytes = 0;
};
/// Those of this process.
abandoned_threads abandoned_lanes();
/// Waits until there is none, at most for `bound`. Returns whether there is none.
bool wait_for_abandoned_lanes(std::chrono::nanoseconds bound);

/// Whether the calling thread belongs to an engine (a lane or a scheduler): it must not wait for one.
bool on_engine_thread() noexcept;
/// Marks the calling thread as an engine's.
void mark_engine_thread() noexcept;

}  // namespace ganglion

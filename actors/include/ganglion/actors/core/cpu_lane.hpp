#pragma once

#include <ganglion/actors/core/lane.hpp>

#include <chrono>

namespace ganglion {

/// A lane of one pinned thread, with its own intra-op threads. The thread is ours, not a detached actor: CAF would wait
/// for that one for ever, while a thread that hangs in a forward can be left behind.
/// Destroyed while idle, it joins its thread; while executing, it leaves the thread to end by itself.
std::unique_ptr<lane> make_cpu_lane(const lane_config& config, std::shared_ptr<lane_sink> sink);

/// The number of threads of given-up lanes that have not ended yet, in this process.
std::size_t abandoned_lanes();
/// Waits until there is none, at most for `bound`. Returns whether there is none.
bool wait_for_abandoned_lanes(std::chrono::nanoseconds bound);

/// Whether the calling thread belongs to an engine (a lane or a scheduler): it must not wait for one.
bool on_engine_thread() noexcept;
/// Marks the calling thread as an engine's.
void mark_engine_thread() noexcept;

}  // namespace ganglion

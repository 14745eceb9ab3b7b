#include <ganglion/actors/batcher/admission.hpp>

#include <fmt/format.h>

namespace ganglion {

expected<void> validate(const admission_limits& limits) {
  if (limits.max_queued_rows < 1)
    return failure{errc::invalid_argument,
                   fmt::format("max_queued_rows is {}, but must be at least 1", limits.max_queued_rows)};
  if (limits.max_queued_bytes < 1)
    return failure{errc::invalid_argument,
                   fmt::format("max_queued_bytes is {}, but must be at least 1", limits.max_queued_bytes)};
  return {};
}

namespace {

/// Adds to what waits unless that passes the limit; what is larger by itself is let in where nothing waits. `before` is
/// what waited.
bool take(std::atomic<std::int64_t>& waits, std::int64_t& before, std::int64_t more, std::int64_t most) {
  do {
    if (before > 0 && before + more > most) return false;
  } while (!waits.compare_exchange_weak(before, before + more));
  return true;
}

}  // namespace

std::optional<failure> admission::enter(std::int64_t rows, std::int64_t bytes) {
  // Counted before the look at the gate: whoever closes it and then finds nothing unanswered has missed nobody.
  unanswered_.fetch_add(1);
  if (closed_.load()) {
    answered();
    return failure{errc::draining, "the engine is draining and takes no more requests: send it to another engine"};
  }
  // What has no rows waits nowhere but for an actor to look at it.
  if (auto open = unanswered_.load(); rows == 0 && open > limits_.max_queued_rows) {
    answered();
    return failure{errc::queue_full,
                   fmt::format("{} requests are unanswered, and one more, of no rows, would pass max_queued_rows = {}: "
                               "try again later",
                               open - 1, limits_.max_queued_rows)};
  }
  auto rows_before = queued_rows_.load();
  if (!take(queued_rows_, rows_before, rows, limits_.max_queued_rows)) {
    answered();
    return failure{errc::queue_full,
                   fmt::format("{} rows wait and {} more would pass max_queued_rows = {}: try again later", rows_before,
                               rows, limits_.max_queued_rows)};
  }
  auto bytes_before = queued_bytes_.load();
  if (take(queued_bytes_, bytes_before, bytes, limits_.max_queued_bytes)) return std::nullopt;
  queued_rows_.fetch_sub(rows);
  answered();
  return failure{errc::queue_full,
                 fmt::format("{} bytes wait and {} more would pass max_queued_bytes = {}: try again later",
                             bytes_before, bytes, limits_.max_queued_bytes)};
}

void admission::leave_queue(std::int64_t rows, std::int64_t bytes) {
  queued_rows_.fetch_sub(rows);
  queued_bytes_.fetch_sub(bytes);
}

void admission::answered() {
  if (unanswered_.fetch_sub(1) == 1 && closed_.load()) tell_if_idle();
}

void admission::close() {
  closed_.store(true);
  tell_if_idle();
}

void admission::when_idle(std::function<void()> then) {
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(then));
  }
  tell_if_idle();
}

void admission::tell_if_idle() {
  std::vector<std::function<void()>> told;
  {
    std::lock_guard lock(mutex_);
    if (closed_.load() && unanswered_.load() == 0) told.swap(waiting_);
  }
  for (auto& then : told) then();
}

}  // namespace ganglion

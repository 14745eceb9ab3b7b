#pragma once

#include <ganglion/model_io/error.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

namespace ganglion {

struct admission_limits {
  /// The most rows, and bytes of input tensors, that may wait in an engine's queues. A request that is larger by itself
  /// is admitted where nothing waits: dynamic batching takes any size.
  std::int64_t max_queued_rows = 65'536;
  std::int64_t max_queued_bytes = std::int64_t{1} << 30;
};

/// A request that was answered.
struct request_record {
  std::uint64_t id = 0;
  std::int64_t rows = 0;
  errc code = errc::ok;
  std::chrono::steady_clock::time_point accepted, answered;
  std::uint64_t data_parallel_id = 0;
  /// Rows of its data_parallel that wait. Not counted where it was answered well: its executions told.
  std::int64_t queued_rows = 0;
};

/// Told of every accepted request that was answered, on any thread. Must not block or throw.
using request_observer = std::function<void(const request_record&)>;

/// Told, in a sentence, of what a sink of an answer threw, on any thread. Must not block or throw.
using complaint_log = std::function<void(std::string_view)>;

/// Sentence if the limits cannot be used: `invalid_argument`.
expected<void> validate(const admission_limits& limits);

/// The gate before the mailboxes, which have no bound of their own: counts what waits and what is not yet answered,
/// refuses what is too much, and once closed lets nothing in and tells when everything accepted is answered.
/// Any thread; no lock on the way in.
class admission {
 public:
  explicit admission(admission_limits limits = {}, request_observer observer = {}, complaint_log complaints = {})
      : limits_(limits), observer_(std::move(observer)), complaints_(std::move(complaints)) {}

  const admission_limits& limits() const { return limits_; }

  /// Lets a request in, or says why not: `draining` once closed, `queue_full` beyond a limit.
  std::optional<failure> enter(std::int64_t rows, std::int64_t bytes);
  /// Rows that wait no more: they are in an execution, or were dropped.
  void leave_queue(std::int64_t rows, std::int64_t bytes);
  /// A request was answered.
  void answered();
  const request_observer& observer() const { return observer_; }
  void complain(std::string_view sentence) const {
    if (complaints_) complaints_(sentence);
  }

  /// Closes the gate; `enter` answers `draining` from now on.
  void close();
  /// Calls `then` once, on whatever thread it comes to pass, when the gate is closed and nothing accepted is
  /// unanswered; at once where that is so already.
  void when_idle(std::function<void()> then);

  std::int64_t queued_rows() const { return queued_rows_.load(std::memory_order_relaxed); }
  std::int64_t queued_bytes() const { return queued_bytes_.load(std::memory_order_relaxed); }
  std::int64_t unanswered() const { return unanswered_.load(std::memory_order_acquire); }

 private:
  void tell_if_idle();

  admission_limits limits_;
  request_observer observer_;
  complaint_log complaints_;
  std::atomic<std::int64_t> queued_rows_{0};
  std::atomic<std::int64_t> queued_bytes_{0};
  std::atomic<std::int64_t> unanswered_{0};
  std::atomic<bool> closed_{false};
  std::mutex mutex_;
  std::vector<std::function<void()>> waiting_;
};

}  // namespace ganglion

#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

namespace ganglion {

/// The thread on which the user's handlers and coroutines go on where they name no executor: one an engine, made when
/// it is first needed, named `ganglion-done`. What they throw goes to `log` and harms nobody.
class completions {
 public:
  /// `bound`: how long its end may wait.
  completions(std::function<void(std::string_view)> log, std::chrono::milliseconds bound);
  /// Runs what was posted, then ends. What the user's own work there takes beyond the bound is dropped, and where it
  /// blocks the thread is left to itself. Does not wait where it is called on the thread itself.
  ~completions();
  completions(const completions&) = delete;
  completions& operator=(const completions&) = delete;

  /// Makes the thread, where it is not there yet: before anything is posted. Errors: `core_unavailable`, thrown, where
  /// it cannot be made.
  void start();
  boost::asio::io_context::executor_type executor();
  /// How many handlers of requests are posted and not yet called; whoever posts one counts it. It lives as long as what
  /// is posted.
  std::atomic<std::int64_t>& waiting();

 private:
  struct worker;

  /// Waits for the thread to end.
  bool is_over();

  std::function<void(std::string_view)> log_;
  std::chrono::milliseconds bound_;
  std::once_flag started_;
  std::shared_ptr<worker> worker_;
};

}  // namespace ganglion

#pragma once

#include <ganglion/engine/data_parallel.hpp>

#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string_view>
#include <vector>

namespace ganglion {

/// Whether a data_parallel is made, and who wants to know. Any thread.
class readiness : public std::enable_shared_from_this<readiness> {
 public:
  /// `log` is told of what those who wait throw.
  readiness(std::size_t cores, std::function<void(std::string_view)> log) : log_(std::move(log)), progress_{0, cores} {}

  std::shared_future<void> future() const { return future_; }
  loading_progress progress() const;
  /// Calls `then` once with what came of it, `ok` or why not; with `cancelled` where the caller stops waiting before.
  /// Inside of this call where it is known already.
  void when_known(std::function<void(failure&&)> then, const std::stop_token& stop);

  void came(std::size_t cores_ready);
  /// What came of it. Only the first call counts.
  void settle(const failure& result);

 private:
  struct waiter {
    std::function<void(failure&&)> then;
    std::optional<std::stop_callback<std::function<void()>>> stops;
  };

  /// Returns whether it still waited.
  bool leave(const std::shared_ptr<waiter>& w);
  void tell(const waiter& w, failure result) const;

  std::function<void(std::string_view)> log_;
  mutable std::mutex mutex_;
  loading_progress progress_;
  std::optional<failure> result_;
  std::vector<std::shared_ptr<waiter>> waiting_;
  std::promise<void> promise_;
  std::shared_future<void> future_ = promise_.get_future().share();
};

}  // namespace ganglion

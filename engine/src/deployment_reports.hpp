#pragma once

#include "coordinator_line.hpp"
#include "readiness.hpp"

#include <ganglion/actors/protocol/handles.hpp>

#include <future>
#include <memory>
#include <mutex>
#include <utility>

namespace ganglion {

/// What a data_parallel serves, for whoever looks: the supervisor's thread puts another one there. Any thread. No
/// std::atomic<std::shared_ptr>: that of libstdc++ 12 races where it is read and written at once.
class served_deployment {
 public:
  explicit served_deployment(std::shared_ptr<const deployment> first) : now_(std::move(first)) {}

  std::shared_ptr<const deployment> load() const {
    std::lock_guard lock(mutex_);
    return now_;
  }
  void store(std::shared_ptr<const deployment> next) {
    std::lock_guard lock(mutex_);
    now_.swap(next);  // the other goes when the lock has gone
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const deployment> now_;
};

/// Brings what the supervisor says of a deployment to its data_parallel: `draining` at the latest where it ended
/// without a word.
class loading_report {
 public:
  loading_report(std::shared_ptr<coordinator_line> line, std::shared_ptr<readiness> ready)
      : line_(std::move(line)), ready_(std::move(ready)) {}
  ~loading_report() { settle({errc::draining, "the engine has ended: make another one"}); }
  loading_report(const loading_report&) = delete;
  loading_report& operator=(const loading_report&) = delete;

  void came(const deployment_progress& p) {
    line_->open(p.coordinator);
    ready_->came(p.cores_ready);
  }
  void settle(const failure& result) {
    if (result.code != errc::ok) line_->fail(result);
    ready_->settle(result);
  }

 private:
  std::shared_ptr<coordinator_line> line_;
  std::shared_ptr<readiness> ready_;
};

/// Brings what the supervisor says of a replacement to its data_parallel and to whoever waits for it: `draining` at the
/// latest where it ended without a word.
class replacement_report {
 public:
  explicit replacement_report(std::shared_ptr<served_deployment> target) : target_(std::move(target)) {}
  ~replacement_report() { settle({{}, nullptr, {errc::draining, "the engine has ended: make another one"}}); }
  replacement_report(const replacement_report&) = delete;
  replacement_report& operator=(const replacement_report&) = delete;

  std::shared_future<void> future() const { return future_; }
  void settle(const deployed& result) {
    if (std::exchange(settled_, true)) return;
    if (result.ok()) {
      target_->store(result.target);
      promise_.set_value();
    } else {
      promise_.set_exception(std::make_exception_ptr(error(result.error)));
    }
  }

 private:
  std::shared_ptr<served_deployment> target_;
  std::promise<void> promise_;
  std::shared_future<void> future_ = promise_.get_future().share();
  bool settled_ = false;
};

}  // namespace ganglion

#include "readiness.hpp"

#include <fmt/format.h>

#include <utility>

namespace ganglion {

loading_progress readiness::progress() const {
  std::lock_guard lock(mutex_);
  return progress_;
}

void readiness::when_known(std::function<void(failure&&)> then, const std::stop_token& stop) {
  auto w = std::make_shared<waiter>();
  w->then = std::move(then);
  std::optional<failure> known;
  {
    std::lock_guard lock(mutex_);
    known = result_;
    if (!known) waiting_.push_back(w);
  }
  if (known) return w->then(std::move(*known));
  if (!stop.stop_possible()) return;
  w->stops.emplace(stop, [of = weak_from_this(), who = std::weak_ptr<waiter>(w)] {
    auto self = of.lock();
    auto stopped = who.lock();
    if (self && stopped && self->leave(stopped))
      self->tell(*stopped, {errc::cancelled, "the wait for the data_parallel was cancelled by its caller"});
  });
}

bool readiness::leave(const std::shared_ptr<waiter>& w) {
  std::lock_guard lock(mutex_);
  return std::erase(waiting_, w) > 0;
}

void readiness::came(std::size_t cores_ready) {
  std::lock_guard lock(mutex_);
  progress_.cores_ready = cores_ready;
}

void readiness::settle(const failure& result) {
  std::vector<std::shared_ptr<waiter>> told;
  {
    std::lock_guard lock(mutex_);
    if (result_) return;
    result_ = result;
    told.swap(waiting_);
  }
  if (result.code == errc::ok)
    promise_.set_value();
  else
    promise_.set_exception(std::make_exception_ptr(error(result)));
  for (const auto& w : told) tell(*w, result);
}

void readiness::tell(const waiter& w, failure result) const {
  // On the supervisor's thread, or inside of `request_stop`: neither survives an exception.
  try {
    w.then(std::move(result));
  } catch (const std::exception& e) {
    log_(fmt::format("the callback of a wait for a data_parallel threw: {}", e.what()));
  } catch (...) {
    log_("the callback of a wait for a data_parallel threw something that is no exception type of the standard");
  }
}

}  // namespace ganglion

#pragma once

#include <pthread.h>

#include <mutex>
#include <utility>

namespace ganglion {

/// One `State` per process behind a mutex, never destroyed. A forked child starts with a usable mutex and a
/// state that was told so: `State::after_fork_in_child() noexcept`, where it drops what only the parent owns.
template <class State>
class process_wide {
 public:
  template <class Function>
  static decltype(auto) with(Function&& function) {
    auto& self = instance();
    std::lock_guard lock{self.mutex_};
    return std::forward<Function>(function)(self.state_);
  }

 private:
  process_wide() {
    // Held over the fork, so that the child copies a state that no other thread was changing.
    ::pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                     [] {
                       instance().state_.after_fork_in_child();
                       instance().mutex_.unlock();
                     });
  }

  static process_wide& instance() {
    static auto& only = *new process_wide;
    return only;
  }

  std::mutex mutex_;
  State state_;
};

}  // namespace ganglion

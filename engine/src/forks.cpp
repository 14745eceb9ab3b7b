#include "forks.hpp"

#include <pthread.h>

#include <atomic>

namespace ganglion {

unsigned fork_count() noexcept {
  static std::atomic<unsigned> count{0};
  [[maybe_unused]] static const int registered = ::pthread_atfork(nullptr, nullptr, [] { ++count; });
  return count.load(std::memory_order_relaxed);
}

}  // namespace ganglion

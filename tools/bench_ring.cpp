#include "bench_ring.hpp"

#include "bench_pinning.hpp"

#include <chrono>

namespace ganglion::command {

void thread_ring::station::put(bool token) {
  std::lock_guard lock(mutex_);
  token_ = token;
  full_ = true;
  filled_.notify_one();
}

bool thread_ring::station::take() {
  std::unique_lock lock(mutex_);
  filled_.wait(lock, [this] { return full_; });
  full_ = false;
  return token_;
}

/// A token of false goes round as the others do, and ends each thread that passes it on.
void thread_ring::pass_on(station& from, station& to) {
  for (bool more = true; more;) {
    more = from.take();
    to.put(more);
  }
}

thread_ring::thread_ring(const std::vector<int>& cpus_of_a, const std::vector<int>& cpus_of_b)
    : a_([this, cpus_of_a] {
        pin_this_thread(cpus_of_a);
        pass_on(stations_[0], stations_[1]);
      }),
      b_([this, cpus_of_b] {
        pin_this_thread(cpus_of_b);
        pass_on(stations_[1], stations_[2]);
      }) {}

thread_ring::~thread_ring() {
  stations_[0].put(false);
  a_.join();
  b_.join();
}

std::vector<double> thread_ring::round_trips(double seconds, std::chrono::nanoseconds pause) {
  using clock = std::chrono::steady_clock;
  std::vector<double> trips;
  const auto begin = clock::now();
  auto now = begin;
  do {
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
    const auto sent = pause.count() > 0 ? clock::now() : now;
    stations_[0].put(true);
    stations_[2].take();
    now = clock::now();
    trips.push_back(std::chrono::duration<double>(now - sent).count());
  } while (std::chrono::duration<double>(now - begin).count() < seconds);
  return trips;
}

}  // namespace ganglion::command

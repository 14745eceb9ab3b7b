#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

namespace ganglion::command {

/// The least that handing a request over three threads and back can cost: client -> A -> B -> client by condition
/// variables, with nothing to do at any of them.
class thread_ring {
 public:
  /// A and B on these CPUs; empty: wherever the calling thread may run.
  explicit thread_ring(const std::vector<int>& cpus_of_a = {}, const std::vector<int>& cpus_of_b = {});
  ~thread_ring();

  /// The seconds of each of the round trips that fit into so many seconds, one at a time, and at least one; with a
  /// pause before each.
  std::vector<double> round_trips(double seconds, std::chrono::nanoseconds pause = {});

 private:
  /// A place for one token; `take` waits for it.
  class station {
   public:
    void put(bool token);
    bool take();

   private:
    std::mutex mutex_;
    std::condition_variable filled_;
    bool full_ = false;
    bool token_ = false;
  };

  void pass_on(station& from, station& to);

  std::array<station, 3> stations_;  ///< into A, into B, back to the client
  std::thread a_;
  std::thread b_;
};

}  // namespace ganglion::command

#include "pinned_loops.hpp"

#include "bench_pinning.hpp"

#include <ATen/Parallel.h>
#include <omp.h>

#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <thread>

namespace ganglion::command {

using clock = std::chrono::steady_clock;

/// A thread that is told for how long to call.
class pinned_loops::loop {
 public:
  explicit loop(loop_start start) : thread_([this, start = std::move(start)] { run(start); }) {}
  ~loop() {
    tell({});
    thread_.join();
  }

  void await_warm() { warm_.get_future().get(); }

  std::future<double> rows_per_second(double seconds) {
    measured_ = {};
    auto result = measured_.get_future();
    tell(seconds);
    return result;
  }

 private:
  void tell(std::optional<double> seconds) {
    std::lock_guard lock(mutex_);
    seconds_ = seconds;
    told_ = true;
    wake_.notify_one();
  }

  /// Nothing: to end.
  std::optional<double> await_task() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return told_; });
    told_ = false;
    return seconds_;
  }

  void run(const loop_start& start) {
    pin_this_thread(start.place.cpus);
    // LibTorch sets the number of threads at the first look, for the calling thread; ours comes after it.
    at::get_num_threads();
    omp_set_num_threads(static_cast<int>(start.place.intra_op_threads));
    work call;
    try {
      call = start.make();
      call();
      call();
    } catch (...) {
      warm_.set_exception(std::current_exception());
      return;
    }
    warm_.set_value();
    while (const auto seconds = await_task()) try {
        measured_.set_value(measure(call, *seconds));
      } catch (...) {
        measured_.set_exception(std::current_exception());
      }
  }

  static double measure(const work& call, double seconds) {
    call();  // the caches are somebody else's
    std::int64_t rows = 0;
    double passed = 0;
    const auto begin = clock::now();
    do {
      rows += call();
      passed = std::chrono::duration<double>(clock::now() - begin).count();
    } while (passed < seconds);
    return static_cast<double>(rows) / passed;
  }

  std::promise<void> warm_;
  std::promise<double> measured_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::optional<double> seconds_;
  bool told_ = false;
  std::thread thread_;
};

pinned_loops::pinned_loops(std::vector<loop_start> starts) {
  for (auto& start : starts) loops_.push_back(std::make_unique<loop>(std::move(start)));
  for (auto& l : loops_) l->await_warm();
}

pinned_loops::~pinned_loops() = default;
pinned_loops::pinned_loops(pinned_loops&&) noexcept = default;

double pinned_loops::rows_per_second(double seconds) {
  std::vector<std::future<double>> measured;
  for (auto& l : loops_) measured.push_back(l->rows_per_second(seconds));
  for (auto& m : measured) m.wait();  // of one that throws the others have ended, too
  double sum = 0;
  for (auto& m : measured) sum += m.get();
  return sum;
}

}  // namespace ganglion::command

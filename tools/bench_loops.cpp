#include "bench_loops.hpp"

#include "bench_input.hpp"
#include "bench_pinning.hpp"

#include <ganglion/model_io/replica.hpp>

#include <ATen/Parallel.h>
#include <omp.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <set>
#include <thread>

namespace ganglion::command {

using clock = std::chrono::steady_clock;

/// A thread that keeps a replica and does with it what it is told, one thing at a time.
class bare_loops::loop {
 public:
  loop(const compiled_model& model, loop_place place)
      : rows_(compiled_rows(model)),
        number_(largest_program(model)),
        leaves_(random_leaves(model, rows_, 1)),
        thread_([this, model, place] { run(model, place); }) {}

  ~loop() {
    tell({});
    thread_.join();
  }

  void await_warm() { warm_.get_future().get(); }

  std::future<double> rows_per_second(double seconds) {
    auto measured = std::make_shared<std::promise<double>>();
    tell([this, seconds, measured](replica& program) {
      try {
        measured->set_value(measure(program, seconds));
      } catch (...) {
        measured->set_exception(std::current_exception());
      }
    });
    return measured->get_future();
  }

  const std::vector<const void*>& weight_storages() const { return weight_storages_; }

 private:
  using task = std::function<void(replica&)>;

  void tell(task next) {
    std::lock_guard lock(mutex_);
    next_ = std::move(next);
    told_ = true;
    wake_.notify_one();
  }

  task await_task() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return told_; });
    told_ = false;
    return std::move(next_);
  }

  void run(const compiled_model& model, const loop_place& place) {
    pin_this_thread(place.cpus);
    // LibTorch sets the number of threads at the first look, for the calling thread; ours comes after it.
    at::get_num_threads();
    omp_set_num_threads(static_cast<int>(place.intra_op_threads));
    auto program = model.make_replica();
    try {
      program.warm_up(number_);
      program.run(leaves_, number_);
    } catch (...) {
      warm_.set_exception(std::current_exception());
      while (await_task()) continue;
      return;
    }
    weight_storages_ = program.weight_storages();
    warm_.set_value();
    while (auto next = await_task()) next(program);
  }

  double measure(replica& program, double seconds) const {
    program.run(leaves_, number_);
    std::int64_t rows = 0;
    const auto begin = clock::now();
    double passed = 0;
    while (passed < seconds) {
      program.run(leaves_, number_);
      rows += rows_;
      passed = std::chrono::duration<double>(clock::now() - begin).count();
    }
    return static_cast<double>(rows) / passed;
  }

  const std::int64_t rows_;
  const std::size_t number_;  // of the program
  const std::vector<c10::IValue> leaves_;
  std::vector<const void*> weight_storages_;
  std::promise<void> warm_;
  std::mutex mutex_;
  std::condition_variable wake_;
  task next_;
  bool told_ = false;
  std::thread thread_;
};

bare_loops::bare_loops(const compiled_model& model, const std::vector<loop_place>& places) {
  for (const auto& place : places) loops_.push_back(std::make_unique<loop>(model, place));
  for (auto& l : loops_) l->await_warm();
}

bare_loops::~bare_loops() = default;

double bare_loops::rows_per_second(double seconds) {
  std::vector<std::future<double>> measured;
  for (auto& l : loops_) measured.push_back(l->rows_per_second(seconds));
  double sum = 0;
  for (auto& m : measured) sum += m.get();
  return sum;
}

std::size_t bare_loops::distinct_weight_storages() const {
  std::set<const void*> places;
  for (const auto& l : loops_) places.insert(l->weight_storages().begin(), l->weight_storages().end());
  return places.size();
}

}  // namespace ganglion::command

#include "bench_loops.hpp"

#include "bench_input.hpp"
#include "bench_pinning.hpp"

#include <ganglion/model_io/replica.hpp>

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <omp.h>
#include <torch/csrc/jit/api/module.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <set>
#include <thread>

namespace ganglion::command {

using clock = std::chrono::steady_clock;

/// What a loop calls, warm.
class loop_caller {
 public:
  virtual ~loop_caller() = default;
  virtual void call() = 0;
  virtual std::vector<const void*> weight_storages() const { return {}; }
};

namespace {

class replica_caller final : public loop_caller {
 public:
  explicit replica_caller(const compiled_model& model)
      : number_(largest_program(model)),
        leaves_(random_leaves(model, compiled_rows(model), 1)),
        program_(model.make_replica()) {
    program_.warm_up(number_);
  }
  void call() override { program_.run(leaves_, number_); }
  std::vector<const void*> weight_storages() const override { return program_.weight_storages(); }

 private:
  std::size_t number_;
  std::vector<c10::IValue> leaves_;
  replica program_;
};

class module_caller final : public loop_caller {
 public:
  module_caller(const compiled_model& model, bool frozen)
      : module_(frozen ? torch::jit::freeze(model.source()) : model.source()),
        arguments_(random_arguments(model, compiled_rows(model), 1)) {
    // As often as a replica's warm-up: the executor profiles the first run and compiles in the second.
    for (int i = 0; i < 4; ++i) call();
  }
  void call() override {
    const c10::InferenceMode guard;
    module_.forward(arguments_);
  }

 private:
  torch::jit::Module module_;
  std::vector<c10::IValue> arguments_;
};

std::unique_ptr<loop_caller> make_caller(const compiled_model& model, loop_program what) {
  if (what == loop_program::compiled) return std::make_unique<replica_caller>(model);
  return std::make_unique<module_caller>(model, what == loop_program::frozen);
}

}  // namespace

/// A thread that keeps a program and does with it what it is told, one thing at a time.
class bare_loops::loop {
 public:
  loop(const compiled_model& model, loop_place place, loop_program what)
      : rows_(compiled_rows(model)), thread_([this, model, place, what] { run(model, place, what); }) {}

  ~loop() {
    tell({});
    thread_.join();
  }

  void await_warm() { warm_.get_future().get(); }

  std::future<double> rows_per_second(double seconds) {
    auto measured = std::make_shared<std::promise<double>>();
    tell([this, seconds, measured](loop_caller& program) {
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
  using task = std::function<void(loop_caller&)>;

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

  void run(const compiled_model& model, const loop_place& place, loop_program what) {
    pin_this_thread(place.cpus);
    // LibTorch sets the number of threads at the first look, for the calling thread; ours comes after it.
    at::get_num_threads();
    omp_set_num_threads(static_cast<int>(place.intra_op_threads));
    std::unique_ptr<loop_caller> program;
    try {
      program = make_caller(model, what);
      program->call();
    } catch (...) {
      warm_.set_exception(std::current_exception());
      while (await_task()) continue;
      return;
    }
    weight_storages_ = program->weight_storages();
    warm_.set_value();
    while (auto next = await_task()) next(*program);
  }

  double measure(loop_caller& program, double seconds) const {
    program.call();
    std::int64_t rows = 0;
    const auto begin = clock::now();
    double passed = 0;
    while (passed < seconds) {
      program.call();
      rows += rows_;
      passed = std::chrono::duration<double>(clock::now() - begin).count();
    }
    return static_cast<double>(rows) / passed;
  }

  const std::int64_t rows_;
  std::vector<const void*> weight_storages_;
  std::promise<void> warm_;
  std::mutex mutex_;
  std::condition_variable wake_;
  task next_;
  bool told_ = false;
  std::thread thread_;
};

bare_loops::bare_loops(const compiled_model& model, const std::vector<loop_place>& places, loop_program what) {
  for (const auto& place : places) loops_.push_back(std::make_unique<loop>(model, place, what));
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

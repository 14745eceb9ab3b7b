#include "loops.hpp"

#include "measure.hpp"

#include <bench_pinning.hpp>

#include <ganglion/engine/cpu_allowance.hpp>
#include <ganglion/model_io/replica.hpp>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <omp.h>

#include <condition_variable>
#include <cstring>
#include <future>
#include <mutex>
#include <thread>

namespace ganglion::benchmark {

/// A thread that is told for how long to call.
class loops::loop {
 public:
  explicit loop(place where) : thread_([this, where = std::move(where)] { run(where); }) {}
  ~loop() {
    tell(0);
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
  void tell(double seconds) {
    std::lock_guard lock(mutex_);
    seconds_ = seconds;
    told_ = true;
    wake_.notify_one();
  }
  double await_task() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return told_; });
    told_ = false;
    return seconds_;
  }

  void run(const place& where) {
    command::pin_this_thread(where.cpus);
    // LibTorch sets the number of threads at the first look, for the calling thread; ours comes after it.
    at::get_num_threads();
    omp_set_num_threads(static_cast<int>(where.intra_op_threads));
    std::function<std::int64_t()> call;
    try {
      call = where.make();
      call();
      call();
      warm_.set_value();
    } catch (...) {
      warm_.set_exception(std::current_exception());
      return;
    }
    while (const auto seconds = await_task()) {
      call();  // the caches are somebody else's
      std::int64_t rows = 0;
      double passed = 0;
      for (const auto begin = clock::now(); passed < seconds; passed = seconds_between(begin, clock::now()))
        rows += call();
      measured_.set_value(static_cast<double>(rows) / passed);
    }
  }

  std::promise<void> warm_;
  std::promise<double> measured_;
  std::mutex mutex_;
  std::condition_variable wake_;
  double seconds_ = 0;
  bool told_ = false;
  std::thread thread_;
};

loops::loops(std::vector<place> places) {
  for (auto& p : places) loops_.push_back(std::make_unique<loop>(std::move(p)));
  for (auto& l : loops_) l->await_warm();
}

loops::~loops() = default;
loops::loops(loops&&) noexcept = default;

double loops::rows_per_second(double seconds) {
  std::vector<std::future<double>> measured;
  for (auto& l : loops_) measured.push_back(l->rows_per_second(seconds));
  double sum = 0;
  for (auto& m : measured) sum += m.get();
  return sum;
}

namespace {

/// One part of the rows: the same work as one core's, without anybody who hands it out.
class part {
 public:
  part(const compiled_model& model, const at::Tensor& in, const at::Tensor& out) : replica_(model.make_replica()) {
    replica_.warm_up();
    const auto batch = model.inputs().front().shape.front();
    for (std::int64_t row = 0; row < in.size(0); row += batch)
      batches_.push_back({{in.narrow(0, row, batch)}, static_cast<char*>(out.narrow(0, row, batch).data_ptr())});
    rows_ = in.size(0);
  }

  std::int64_t operator()() {
    for (const auto& [in, out] : batches_) {
      const auto result = replica_.run(in).toTensor().contiguous();
      std::memcpy(out, result.data_ptr(), result.nbytes());
    }
    return rows_;
  }

 private:
  struct one_batch {
    std::vector<c10::IValue> in;
    char* out;
  };

  replica replica_;
  std::vector<one_batch> batches_;
  std::int64_t rows_ = 0;
};

at::Tensor random_rows(const tensor_spec& spec, std::int64_t rows) {
  auto sizes = spec.shape;
  sizes.front() = rows;
  return at::rand(sizes, at::TensorOptions().dtype(spec.dtype));
}

}  // namespace

loops bare_loops(const compiled_model& model, std::int64_t rows, std::size_t threads) {
  const auto cpus = read_cpu_allowance().cpus;
  const auto in = random_rows(model.inputs().front(), rows), out = random_rows(model.outputs().front(), rows);
  const auto each = rows / static_cast<std::int64_t>(threads);
  std::vector<loops::place> places;
  for (std::size_t i = 0; i < threads; ++i)
    places.push_back({{cpus[i % cpus.size()]}, 1, [=] {
                        const auto first = static_cast<std::int64_t>(i) * each;
                        auto mine =
                            std::make_shared<part>(model, in.narrow(0, first, each), out.narrow(0, first, each));
                        return [mine] { return (*mine)(); };
                      }});
  return loops{std::move(places)};
}

}  // namespace ganglion::benchmark

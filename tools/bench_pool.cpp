#include "bench_pool.hpp"

#include "bench_input.hpp"
#include "command.hpp"

#include <ganglion/model_io/replica.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <omp.h>

#include <algorithm>
#include <chrono>

namespace ganglion::command {

namespace {

/// The pieces of each output, one behind the other: outputs without a dimension become a vector.
std::vector<at::Tensor> joined(const std::vector<std::vector<at::Tensor>>& pieces,
                               const std::vector<std::int64_t>& axes) {
  std::vector<at::Tensor> outputs;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    std::vector<at::Tensor> parts;
    for (const auto& piece : pieces)
      parts.push_back(axes[i] < 0 && piece[i].dim() == 0 ? piece[i].reshape({1}) : piece[i]);
    outputs.push_back(at::cat(parts, std::max<std::int64_t>(axes[i], 0)));
  }
  return outputs;
}

}  // namespace

class documented_pool::worker {
 public:
  explicit worker(const compiled_model& model)
      : number_(largest_program(model)),
        rule_(make_scatter_rule(model.signature(number_), 0).value()),
        replica_(model.make_replica()) {
    replica_.warm_up(number_);
  }

  /// `count` rows of the request's, from `first` on.
  std::vector<at::Tensor> run(const std::vector<c10::IValue>& leaves, std::int64_t first, std::int64_t count) {
    const c10::InferenceMode guard;
    std::vector<std::vector<at::Tensor>> pieces;
    for (auto from = first; from < first + count; from += rule_.compiled_size)
      pieces.push_back(run_batch(leaves, from, std::min(rule_.compiled_size, first + count - from)));
    return joined(pieces, rule_.out_axis);
  }

 private:
  std::vector<at::Tensor> run_batch(const std::vector<c10::IValue>& leaves, std::int64_t first, std::int64_t count) {
    auto batch = leaves;
    std::size_t tensor = 0;
    for (auto& leaf : batch) {
      if (!leaf.isTensor()) continue;
      if (const auto axis = rule_.axis[tensor++]; axis >= 0) leaf = batch_of(leaf.toTensor(), axis, first, count);
    }
    std::vector<at::Tensor> outputs;
    for (const auto& leaf : leaves_of(replica_.run(batch, number_)))
      if (leaf.value.isTensor()) outputs.push_back(leaf.value.toTensor());
    if (rule_.is_batch_dim && count < rule_.compiled_size)
      for (auto& output : outputs) output = output.narrow(0, 0, count);
    return outputs;
  }

  at::Tensor batch_of(const at::Tensor& rows, std::int64_t axis, std::int64_t first, std::int64_t count) const {
    const auto part = rows.narrow(axis, first, count);
    if (count == rule_.compiled_size) return part;
    auto sizes = part.sizes().vec();
    sizes[static_cast<std::size_t>(axis)] = rule_.compiled_size - count;
    return at::cat({part, at::zeros(sizes, part.options())}, axis);
  }

  std::size_t number_;
  scatter_rule rule_;
  replica replica_;
};

documented_pool::documented_pool(const compiled_model& model, std::size_t cores) : model_(model), cores_(cores) {
  std::vector<std::future<void>> warm;
  for (std::size_t i = 0; i < 2 * cores; ++i) {
    std::promise<void> ready;
    warm.push_back(ready.get_future());
    threads_.emplace_back([this, ready = std::move(ready)]() mutable { work(std::move(ready)); });
  }
  try {
    for (auto& w : warm) w.get();
  } catch (...) {
    end();
    throw;
  }
}

documented_pool::~documented_pool() { end(); }

void documented_pool::end() {
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void documented_pool::work(std::promise<void> warm) {
  // LibTorch sets the number of threads at the first look, for the calling thread; ours comes after it.
  at::get_num_threads();
  omp_set_num_threads(1);
  std::unique_ptr<worker> self;
  try {
    self = std::make_unique<worker>(model_);
  } catch (...) {
    return warm.set_exception(std::current_exception());
  }
  warm.set_value();
  while (true) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    auto next = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    next(*self);
  }
}

c10::IValue documented_pool::operator()(const bench_request& request) {
  const auto number = largest_program(model_);
  const auto rule = make_scatter_rule(model_.signature(number), 0).value();
  const auto leaves = check_inputs(model_.signature(number), rule, request.arguments).value().leaves;
  const auto size = std::max<std::int64_t>(1, request.rows / static_cast<std::int64_t>(cores_));
  std::vector<std::future<std::vector<at::Tensor>>> chunks;
  for (std::int64_t first = 0; first < request.rows; first += size) {
    task next{[&leaves, first, count = std::min(size, request.rows - first)](worker& w) {
      return w.run(leaves, first, count);
    }};
    chunks.push_back(next.get_future());
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(next));
    changed_.notify_one();
  }
  for (auto& chunk : chunks) chunk.wait();  // all of them, before one may throw: they use what is here
  std::vector<std::vector<at::Tensor>> outputs;
  for (auto& chunk : chunks) outputs.push_back(chunk.get());
  const c10::InferenceMode guard;
  std::vector<c10::IValue> tensors;
  for (auto& tensor : joined(outputs, rule.out_axis)) tensors.emplace_back(std::move(tensor));
  return c10::ivalue::Tuple::create(std::move(tensors));
}

double documented_pool::rows_per_second(const bench_request& request, double seconds) {
  using clock = std::chrono::steady_clock;
  (*this)(request);
  std::int64_t rows = 0;
  const auto begin = clock::now();
  double passed = 0;
  while (passed < seconds) {
    (*this)(request);
    rows += request.rows;
    passed = std::chrono::duration<double>(clock::now() - begin).count();
  }
  return static_cast<double>(rows) / passed;
}

}  // namespace ganglion::command

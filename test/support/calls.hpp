#pragma once

#include <support/doctest.hpp>
#include <support/errors.hpp>
#include <support/modules.hpp>

#include <ganglion/engine/data_parallel.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>

namespace ganglion::test {

/// An environment variable for as long as the object lives; unset where no value is given.
class scoped_variable {
 public:
  scoped_variable(std::string name, std::optional<std::string> value) : name_(std::move(name)) {
    if (const char* before = std::getenv(name_.c_str())) before_ = before;
    set(value);
  }
  ~scoped_variable() { set(before_); }
  scoped_variable(const scoped_variable&) = delete;
  scoped_variable& operator=(const scoped_variable&) = delete;

  void set(const std::optional<std::string>& value) {
    if (value)
      ::setenv(name_.c_str(), value->c_str(), 1);
    else
      ::unsetenv(name_.c_str());
  }

 private:
  std::string name_;
  std::optional<std::string> before_;
};

/// A model without the timing of several programs, which takes most of a trace.
inline compiled_model compiled(const torch::jit::Module& module, std::vector<c10::IValue> example) {
  return trace(module, std::move(example), {.tune = false});
}

/// x + 1 of f32[batch, 3].
inline compiled_model plus_one(std::int64_t batch = 1) {
  return compiled(test_modules::plus_one(), {at::ones({batch, 3})});
}

inline at::Tensor answer(data_parallel& model, std::vector<c10::IValue> inputs) {
  return model(std::move(inputs)).toTensor();
}

/// Waits until something holds, a minute at most.
template <class Wanted>
bool soon(Wanted wanted) {
  using clock = std::chrono::steady_clock;
  for (const auto end = clock::now() + std::chrono::minutes(1); clock::now() < end;)
    if (wanted()) return true;
  return false;
}

/// Whether a future becomes ready within a minute.
template <class T>
bool ready(const std::future<T>& future) {
  return future.wait_for(std::chrono::minutes(1)) == std::future_status::ready;
}

/// The failure that a future holds; `ok` where it holds an answer.
template <class T>
failure failure_of_future(std::future<T>&& future) {
  REQUIRE(ready(future));
  return failure_of([&] { future.get(); });
}

/// Waits until nothing is counted as unanswered or queued: an answer is there before it is counted.
inline bool at_rest(const engine& host) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  for (;;) {
    const auto status = host.status();
    if (status.unanswered == 0 && status.queued_rows == 0 && status.queued_bytes == 0) return true;
    if (std::chrono::steady_clock::now() > end) return false;
  }
}

/// What the traced module alone makes of the same inputs.
inline c10::IValue source_answer(const compiled_model& model, std::vector<c10::IValue> inputs) {
  at::NoGradGuard no_grad;
  auto module = model.source();
  return module.forward(std::move(inputs));
}

/// 0, 1, 2, ... as floats: every element tells where it stood.
inline at::Tensor counted(at::IntArrayRef shape) {
  std::int64_t n = 1;
  for (auto size : shape) n *= size;
  return at::arange(n, at::kFloat).reshape(shape);
}

inline std::size_t ceil_div(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

inline double tolerance_of(at::ScalarType dtype) {
  if (dtype == at::kHalf || dtype == at::kBFloat16) return 1e-2;
  return at::isFloatingType(dtype) ? 1e-4 : 0;
}

/// Whether two tensors agree in dtype, sizes and, within the dtype's tolerance, values.
inline bool same(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  auto tolerance = tolerance_of(a.scalar_type());
  if (tolerance == 0) return a.equal(b);
  return at::allclose(a.to(at::kDouble), b.to(at::kDouble), tolerance, tolerance);
}

/// The same for nested values: equal containers and kinds, leaves that agree.
inline bool same(const c10::IValue& a, const c10::IValue& b) {
  if (!same_structure(a, b)) return false;
  auto left = leaves_of(a), right = leaves_of(b);
  for (std::size_t i = 0; i < left.size(); ++i) {
    bool equal = left[i].value.isTensor() ? same(left[i].value.toTensor(), right[i].value.toTensor())
                                          : equal_leaves(left[i].value, right[i].value);
    if (!equal) return false;
  }
  return true;
}

/// The number of sentences that contain a part.
inline std::size_t count_of(const std::vector<std::string>& sentences, const std::string& part) {
  std::size_t count = 0;
  for (const auto& s : sentences) count += contains(s, part);
  return count;
}

}  // namespace ganglion::test

#pragma once

#include "packable_weights.hpp"

#include <c10/core/ScalarType.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ganglion {

/// What an element becomes, as `f(x, alpha, beta)`.
enum class elementwise { relu, clip, sigmoid, tanh, gelu_erf, gelu_tanh, hardswish, swish };

struct elementwise_step {
  elementwise function = elementwise::relu;
  float alpha = 0;
  float beta = 0;
};

/// A tensor between two steps.
struct fused_value {
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> sizes;
};

/// One operation on values, given by their numbers. What follows it in the same pass over memory is in
/// `sum_with` and `after`, in that order.
struct fused_step {
  enum class operation { convolution, linear, add, multiply, each_element, max_pool, mean_pool, reshape };
  using sizes_2d = std::array<std::int64_t, 2>;

  operation what = operation::reshape;
  std::vector<std::size_t> inputs;
  std::size_t output = 0;
  /// Of a convolution (out, in / groups, height, width) and of a linear layer (out, in).
  std::shared_ptr<packable_weights> weights;
  std::shared_ptr<packable_weights> bias;
  /// Of a convolution or a pool.
  sizes_2d kernel{1, 1}, stride{1, 1}, padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
  /// Whether a mean counts the padding's zeros.
  bool counts_padding = false;
  /// A value that is added, and of which the output takes the memory.
  std::optional<std::size_t> sum_with;
  std::vector<elementwise_step> after;
};

/// A straight line of steps. Values that no step makes are the inputs.
struct fused_plan {
  std::vector<fused_value> values;
  std::vector<fused_step> steps;
  std::vector<std::size_t> inputs;
  std::vector<std::size_t> outputs;
  /// Whether convolutions that can be are done by Winograd's method: fewer multiplications, other rounding.
  bool winograd = false;
};

/// Joins steps: functions of each element go along with what made the element, and an addition with the later of the
/// two operations that made its summands, where nobody else looks at what lies between.
fused_plan with_steps_joined(fused_plan plan);

/// Whether the step is one of those that take nearly all the time of a network.
bool is_heavy(const fused_step& step);

}  // namespace ganglion

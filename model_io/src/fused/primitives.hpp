#pragma once

#include "fused_plan.hpp"

#include <dnnl.hpp>

#include <unordered_map>
#include <vector>

namespace ganglion {

/// The layout in which a primitive wants a value, and how it is told of it: a linear layer sees all leading dimensions
/// as one.
struct operand_layout {
  operand_layout() = default;
  operand_layout(const dnnl::memory::desc& both) : of_value(both), told(both) {}
  operand_layout(const dnnl::memory::desc& of_value, const dnnl::memory::desc& told)
      : of_value(of_value), told(told) {}

  dnnl::memory::desc of_value;
  dnnl::memory::desc told;
};

/// A primitive and the layouts that it chose.
struct made_primitive {
  dnnl::primitive primitive;
  /// One a step's input, in their order.
  std::vector<operand_layout> inputs;
  operand_layout output;
  dnnl::memory::desc scratchpad;
  /// Those that are the same in every run: weights and bias, by oneDNN's argument number.
  std::unordered_map<int, dnnl::memory> constants;
};

/// Makes the primitive of a step which is no reshape. `inputs` are the layouts in which they are at hand, `sum` the one
/// of the step's `sum_with`. Throws `dnnl::error`, or std::runtime_error where there is only a slow reference.
made_primitive make_primitive(const fused_plan& plan, const fused_step& step,
                              const std::vector<dnnl::memory::desc>& inputs, const dnnl::memory::desc* sum);

/// Whether the step is a convolution that oneDNN does by Winograd's method on this CPU: of 3 times 3 in fp32 at every
/// place, of all channels.
bool can_use_winograd(const fused_plan& plan, const fused_step& step);

/// The layout of a value without gaps, the last dimension the innermost.
dnnl::memory::desc plain_layout(const fused_value& value);

}  // namespace ganglion

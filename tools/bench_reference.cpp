#include "bench_reference.hpp"

#include "bench_input.hpp"
#include "command.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/api/module.h>

#include <algorithm>
#include <limits>

namespace ganglion::command {

namespace {

/// So many rows from `first` on, the last one repeated where there are fewer.
at::Tensor batch_of(const at::Tensor& rows, std::int64_t axis, std::int64_t first, std::int64_t count) {
  return rows.index_select(axis, at::arange(first, first + count).clamp_max(rows.size(axis) - 1));
}

double largest_difference(const at::Tensor& wanted, const at::Tensor& given) {
  if (wanted.numel() == 0) return 0;
  const auto a = wanted.to(at::kDouble), b = given.to(at::kDouble);
  const auto same = a.eq(b).logical_or(a.isnan().logical_and(b.isnan()));
  const auto largest = (a - b).abs().masked_fill(same, 0).max().item<double>();
  return largest >= 0 ? largest : std::numeric_limits<double>::infinity();
}

std::vector<at::Tensor> tensors_of(const c10::IValue& value) {
  std::vector<at::Tensor> tensors;
  for (const auto& leaf : leaves_of(value))
    if (leaf.value.isTensor()) tensors.push_back(leaf.value.toTensor());
  return tensors;
}

}  // namespace

double largest_difference(const compiled_model& model, const bench_request& request, const c10::IValue& answer) {
  const c10::InferenceMode guard;
  const auto& sig = model.signature();
  const auto rule = make_scatter_rule(model.signature(largest_program(model)), 0).value();
  const auto leaves = check_inputs(sig, rule, request.arguments).value().leaves;
  const auto gathered = tensors_of(answer);
  auto module = model.source();
  double largest = 0;
  std::int64_t batch = 0;
  for (std::int64_t first = 0; first < request.rows; first += rule.compiled_size, ++batch) {
    auto batch_leaves = leaves;
    std::size_t tensor = 0;
    for (auto& leaf : batch_leaves) {
      if (!leaf.isTensor()) continue;
      if (const auto axis = rule.axis[tensor++]; axis >= 0)
        leaf = batch_of(leaf.toTensor(), axis, first, rule.compiled_size);
    }
    const auto alone = tensors_of(module.forward(arguments_from(sig, batch_leaves)));
    for (std::size_t i = 0; i < alone.size(); ++i) {
      if (rule.out_axis[i] < 0) {
        largest = std::max(largest, largest_difference(alone[i], gathered[i][batch]));
        continue;
      }
      const auto size = alone[i].size(rule.out_axis[i]);
      const auto from = batch * size, count = std::min(size, gathered[i].size(rule.out_axis[i]) - from);
      largest = std::max(largest, largest_difference(alone[i].narrow(rule.out_axis[i], 0, count),
                                                     gathered[i].narrow(rule.out_axis[i], from, count)));
    }
  }
  return largest;
}

}  // namespace ganglion::command

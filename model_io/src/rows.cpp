#include "rows.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <limits>

namespace ganglion {

namespace {

at::Tensor made_tensor(const tensor_spec& spec, const value_range& range, const at::Generator& generator,
                       double scale) {
  if (spec.dtype == at::kBool) return at::randint(0, 2, spec.shape, generator).to(at::kBool);
  if (c10::isIntegralType(spec.dtype, false)) {
    const auto low = static_cast<std::int64_t>(range.low);
    const auto high = std::max(low, static_cast<std::int64_t>(range.high));
    return at::randint(low, high + 1, spec.shape, generator, at::TensorOptions{at::kLong}).to(spec.dtype);
  }
  const auto deviation = range.deviation > 0 ? range.deviation : 1.0;
  const auto wide = c10::isComplexType(spec.dtype) ? at::kComplexDouble : at::kDouble;
  return ((at::randn(spec.shape, generator, at::TensorOptions{wide}) * deviation + range.mean) * scale)
      .to(spec.dtype);
}

/// The lowest or the highest value of an example's tensor; of floats, one that is far from all that it has.
at::Scalar extreme(const tensor_spec& spec, const value_range& range, bool high) {
  if (spec.dtype == at::kBool) return high;
  if (c10::isIntegralType(spec.dtype, false)) return static_cast<std::int64_t>(high ? range.high : range.low);
  const auto far = 100 * (range.deviation > 0 ? range.deviation : 1.0);
  return range.mean + (high ? far : -far);
}

}  // namespace

value_range range_of(const at::Tensor& tensor) {
  if (tensor.is_complex()) return {};
  const auto values = tensor.detach().to(at::kDouble);
  const auto finite = values.masked_select(values.isfinite());
  if (finite.numel() == 0) return {};
  return {finite.min().item<double>(), finite.max().item<double>(), finite.mean().item<double>(),
          finite.std(/*unbiased=*/false).item<double>()};
}

std::vector<c10::IValue> made_leaves(const signature& sig, std::uint64_t seed, double scale) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  std::vector<c10::IValue> leaves;
  std::size_t tensors = 0;
  for (const auto& argument : sig.example)
    for (auto& leaf : leaves_of(argument)) {
      if (leaf.value.isTensor()) {
        leaves.emplace_back(made_tensor(sig.inputs[tensors], sig.ranges[tensors], generator, scale));
        ++tensors;
      } else {
        leaves.push_back(std::move(leaf.value));
      }
    }
  return leaves;
}

std::vector<c10::IValue> with_extreme_rows(std::vector<c10::IValue> leaves, const signature& sig, bool even_high,
                                           bool odd_high) {
  std::size_t tensors = 0;
  for (auto& leaf : leaves) {
    if (!leaf.isTensor()) continue;
    const auto& spec = sig.inputs[tensors];
    const auto& range = sig.ranges[tensors++];
    if (spec.shape.empty()) continue;
    auto rows = at::full(spec.shape, extreme(spec, range, even_high), spec.dtype);
    rows.slice(0, 1, c10::nullopt, 2).fill_(extreme(spec, range, odd_high));
    leaf = std::move(rows);
  }
  return leaves;
}

std::vector<c10::IValue> within_ranges(std::vector<c10::IValue> leaves, const signature& sig) {
  std::size_t tensors = 0;
  for (auto& leaf : leaves) {
    if (!leaf.isTensor()) continue;
    const auto& range = sig.ranges[tensors++];
    const auto& values = leaf.toTensor();
    if (values.is_floating_point())
      leaf = values.to(at::kDouble).clamp(range.low, range.high).to(values.scalar_type());
  }
  return leaves;
}

std::vector<c10::IValue> cloned(std::vector<c10::IValue> leaves) {
  for (auto& leaf : leaves) leaf = leaf.deepcopy();
  return leaves;
}

std::optional<deviation> compare(const at::Tensor& reference, const at::Tensor& given) {
  if (reference.scalar_type() != given.scalar_type() || reference.sizes() != given.sizes())
    return std::nullopt;
  if (reference.numel() == 0) return deviation{};
  const auto wide = reference.is_complex() ? at::kComplexDouble : at::kDouble;
  const auto a = reference.to(wide), b = given.to(wide);
  const auto equal = a.eq(b).logical_or(a.isnan().logical_and(b.isnan()));
  // Equal infinities would leave a NaN, and a NaN that is left is a true difference.
  constexpr auto infinity = std::numeric_limits<double>::infinity();
  const auto difference = (a - b).abs().masked_fill(equal, 0).nan_to_num(infinity, infinity);
  const auto magnitude = a.abs().nan_to_num(0, 0);
  const auto norm = magnitude.norm().item<double>();
  const auto distance = difference.norm().item<double>();
  return deviation{difference.max().item<double>(), magnitude.max().item<double>(),
                   distance == 0 ? 0 : distance / norm};
}

double rounding_tolerance(at::ScalarType dtype, double magnitude) {
  switch (dtype) {
    case at::kFloat:
    case at::kComplexFloat:
      return 1e-4 * magnitude;
    case at::kDouble:
    case at::kComplexDouble:
      return 1e-8 * magnitude;
    case at::kHalf:
    case at::kBFloat16:
      return 2e-2 * magnitude;
    default:
      return 0;
  }
}

}  // namespace ganglion

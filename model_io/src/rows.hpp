#pragma once

#include <ganglion/model_io/signature.hpp>

#include <optional>

namespace ganglion {

/// The range of a tensor's finite values.
value_range range_of(const at::Tensor& tensor);

/// The leaves of arguments like the example's: tensors made from the ranges, floats times `scale`; all else
/// as it is.
std::vector<c10::IValue> made_leaves(const signature& sig, std::uint64_t seed, double scale = 1);

/// The leaves with rows of one extreme value each: the lowest or the highest that the example has, of floats one that
/// is far from all that it has; one for the rows at even places, one for those at odd places.
std::vector<c10::IValue> with_extreme_rows(std::vector<c10::IValue> leaves, const signature& sig, bool even_high,
                                           bool odd_high);

/// The same leaves with `change` applied to every tensor of at least one dimension; 0-dimensional ones are
/// kept.
template <class Change>
std::vector<c10::IValue> with_rows_changed(std::vector<c10::IValue> leaves, Change change) {
  for (std::size_t i = 0; i < leaves.size(); ++i)
    if (leaves[i].isTensor() && leaves[i].toTensor().dim() > 0) leaves[i] = change(i, leaves[i].toTensor());
  return leaves;
}

/// The leaves with every tensor's values within those that the example has.
std::vector<c10::IValue> within_ranges(std::vector<c10::IValue> leaves, const signature& sig);

/// The leaves with tensors and lists of their own, so that a module that writes to them harms nobody.
std::vector<c10::IValue> cloned(std::vector<c10::IValue> leaves);

/// How far a tensor is from the one that it should equal.
struct deviation {
  double largest = 0;   ///< the largest absolute difference; infinite where a NaN stands against a number
  double magnitude = 0; ///< the largest finite absolute value of the reference
  double relative = 0;  ///< the norm of the difference over the norm of the reference
};

/// NaN equals NaN. Nothing where dtype or sizes differ.
std::optional<deviation> compare(const at::Tensor& reference, const at::Tensor& given);

/// The largest absolute difference that rounding may leave between two ways of computing a tensor of a
/// magnitude. It is relative throughout: deep models without training give outputs so small that any absolute
/// allowance hides an error.
double rounding_tolerance(at::ScalarType dtype, double magnitude);

}  // namespace ganglion

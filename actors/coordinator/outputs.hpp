#pragma once

#include <ganglion/model_io/error.hpp>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ganglion {

// What executions return: the rules in which the outputs of several must agree, each `gather_mismatch` where they do
// not (S22 of docs/semantics.md), and how rows are copied out of them.

failure gather_mismatch(std::string text);

/// The leaves without their paths: a single tensor, which most models return, costs one reference.
std::vector<c10::IValue> plain_leaves(const c10::IValue& tree);
std::string leaf_name(const c10::IValue& tree, std::size_t index);

/// Whether a chunk has the structure of the first that came.
expected<void> same_outputs(const c10::IValue& first, const c10::IValue& outputs, std::size_t chunk);
/// Whether a leaf that is no tensor has the value that it had in the first chunk.
expected<void> same_value(const c10::IValue& first, const c10::IValue& outputs, const c10::IValue& leaf,
                          std::size_t index, std::size_t chunk);
/// Whether a tensor that was returned for `batch` rows has as many.
expected<void> returns_rows(const c10::IValue& outputs, const at::Tensor& leaf, std::size_t index, std::int64_t batch);
/// Whether a tensor that was returned for `batch` rows has the dtype and the trailing sizes of the one that its rows go
/// to.
expected<void> same_rows(const at::Tensor& to, const c10::IValue& outputs, const at::Tensor& leaf, std::size_t index,
                         std::int64_t batch, std::size_t chunk);

/// Copies rows between tensors of equal dtype and trailing sizes. The first is ours, contiguous and as its bytes say.
void copy_rows(const at::Tensor& to, std::int64_t to_row, const at::Tensor& from, std::int64_t from_row,
               std::int64_t rows);

}  // namespace ganglion

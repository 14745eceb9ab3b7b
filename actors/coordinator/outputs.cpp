#include "coordinator/outputs.hpp"

#include <ganglion/model_io/tensor_spec.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>

namespace ganglion {

failure gather_mismatch(std::string text) { return {errc::gather_mismatch, std::move(text)}; }

std::vector<c10::IValue> plain_leaves(const c10::IValue& tree) {
  if (tree.isTensor()) return {tree};
  std::vector<c10::IValue> result;
  for (auto& leaf : leaves_of(tree)) result.push_back(std::move(leaf.value));
  return result;
}

std::string leaf_name(const c10::IValue& tree, std::size_t index) {
  return leaves_of(tree, "output")[index].path;
}

expected<void> same_outputs(const c10::IValue& first, const c10::IValue& outputs, std::size_t chunk) {
  if (first.isTensor() && outputs.isTensor()) return {};
  if (auto same = same_structure(first, outputs, "output"); !same)
    return gather_mismatch(
        fmt::format("the outputs of chunk {} differ from those of another: {}", chunk, same.error().text));
  return {};
}

expected<void> same_value(const c10::IValue& first, const c10::IValue& outputs, const c10::IValue& leaf,
                          std::size_t index, std::size_t chunk) {
  if (equal_leaves(first, leaf)) return {};
  return gather_mismatch(
      fmt::format("{} is {} in chunk {} and {} in another: values that are no tensors must be equal in all chunks",
                  leaf_name(outputs, index), leaf_text(leaf), chunk, leaf_text(first)));
}

expected<void> returns_rows(const c10::IValue& outputs, const at::Tensor& leaf, std::size_t index,
                            std::int64_t batch) {
  if (leaf.dim() > 0 && leaf.size(0) == batch) return {};
  return gather_mismatch(fmt::format(
      "{} is {}, but an execution of {} rows must return {} rows: this model's rows cannot be told apart, so disable "
      "dynamic batching",
      leaf_name(outputs, index), to_string(leaf.scalar_type(), leaf.sizes()), batch, batch));
}

expected<void> same_rows(const at::Tensor& to, const c10::IValue& outputs, const at::Tensor& leaf, std::size_t index,
                         std::int64_t batch, std::size_t chunk) {
  if (leaf.scalar_type() == to.scalar_type() && leaf.dim() == to.dim() && leaf.size(0) == batch &&
      leaf.sizes().slice(1) == to.sizes().slice(1))
    return {};
  auto sizes = to.sizes().vec();
  sizes[0] = batch;  // what another chunk returned, not all of them together
  return gather_mismatch(fmt::format(
      "{} is {} in chunk {}, but {} in another for as many rows: dtype and trailing shape must agree between chunks",
      leaf_name(outputs, index), to_string(leaf.scalar_type(), leaf.sizes()), chunk,
      to_string(to.scalar_type(), sizes)));
}

void copy_rows(const at::Tensor& to, std::int64_t to_row, const at::Tensor& from, std::int64_t from_row,
               std::int64_t rows) {
  if (to.numel() == 0) return;
  if (!from.is_contiguous() || from.is_conj() || from.is_neg()) {
    to.narrow(0, to_row, rows).copy_(from.narrow(0, from_row, rows));
    return;
  }
  auto row_bytes = static_cast<std::size_t>(to.numel() / to.size(0)) * to.element_size();
  std::memcpy(static_cast<char*>(to.data_ptr()) + static_cast<std::size_t>(to_row) * row_bytes,
              static_cast<const char*>(from.data_ptr()) + static_cast<std::size_t>(from_row) * row_bytes,
              static_cast<std::size_t>(rows) * row_bytes);
}

}  // namespace ganglion

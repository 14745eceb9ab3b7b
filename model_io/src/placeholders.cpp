#include "placeholders.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ops/zeros.h>

namespace ganglion {

namespace {

void append_tensors(const c10::IValue& tree, std::string_view root, std::vector<tensor_spec>& specs) {
  for (auto& leaf : leaves_of(tree, root))
    if (leaf.value.isTensor()) specs.push_back(spec_of(leaf.value.toTensor(), std::move(leaf.path)));
}

}  // namespace

at::Tensor placeholder(at::ScalarType dtype, at::IntArrayRef shape) {
  return at::zeros({}, at::TensorOptions{}.dtype(dtype)).expand(shape);
}

c10::IValue with_placeholders(const c10::IValue& tree) {
  std::vector<c10::IValue> leaves;
  for (auto& leaf : leaves_of(tree)) {
    if (leaf.value.isTensor())
      leaves.emplace_back(placeholder(leaf.value.toTensor().scalar_type(), leaf.value.toTensor().sizes()));
    else
      leaves.push_back(std::move(leaf.value));
  }
  return with_leaves(tree, leaves);
}

void name_tensors(signature& sig) {
  sig.inputs.clear();
  sig.outputs.clear();
  for (std::size_t i = 0; i < sig.example.size(); ++i)
    append_tensors(sig.example[i], sig.argument_names[i], sig.inputs);
  append_tensors(sig.result, "output", sig.outputs);
}

}  // namespace ganglion

#include "execution.hpp"

#include "fused/fused_graph.hpp"
#include "graph_check.hpp"
#include "quiet.hpp"
#include "rows.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

namespace ganglion {

namespace {

/// The values of the trailing arguments that the example leaves to their defaults.
std::vector<c10::IValue> default_arguments(const torch::jit::Module& program, std::size_t given) {
  std::vector<c10::IValue> values;
  const auto& arguments = program.get_method("forward").function().getSchema().arguments();
  for (std::size_t i = given + 1; i < arguments.size(); ++i)
    values.push_back(arguments[i].default_value().value());
  return values;
}

std::shared_ptr<torch::jit::Graph> own_graph(const torch::jit::Module& program) {
  auto graph = program.get_method("forward").graph()->copy();
  own_fused_programs(*graph);
  return graph;
}

}  // namespace

execution::execution(const torch::jit::Module& program, const signature& sig, auto_cast cast)
    : sig_(sig),
      bf16_(cast == auto_cast::bf16),
      self_(program._ivalue()),
      defaults_(default_arguments(program, sig.example.size())),
      function_("forward", own_graph(program), nullptr) {}

torch::jit::Stack execution::stack_of(const std::vector<c10::IValue>& leaves, bool own) const {
  const bool as_they_are = !bf16_ && (own || !sig_.writes_inputs);
  auto arguments = arguments_from(sig_, as_they_are ? leaves : prepared(leaves, own));
  torch::jit::Stack stack;
  stack.reserve(1 + arguments.size() + defaults_.size());
  stack.push_back(self_);
  stack.insert(stack.end(), std::make_move_iterator(arguments.begin()),
               std::make_move_iterator(arguments.end()));
  stack.insert(stack.end(), defaults_.begin(), defaults_.end());
  return stack;
}

c10::IValue execution::run(const std::vector<c10::IValue>& leaves, bool own) {
  const c10::InferenceMode guard;
  const quiet no_warnings;
  auto stack = stack_of(leaves, own);
  function_.run(stack);
  return bf16_ ? with_compiled_dtypes(stack.front()) : std::move(stack.front());
}

std::set<const void*> execution::weight_storages() {
  auto tensors = constant_tensors(*function_.graph());
  // The executor runs a graph of its own making, whose constants it may have computed anew.
  if (auto& executor = function_.get_executor(); executor.isOptimized())
    for (const auto& [shapes, plan] : executor.getDebugState().execution_plans)
      for (auto& tensor : constant_tensors(*plan.graph)) tensors.push_back(std::move(tensor));
  for (const auto& [name, tensor] : held_tensors(torch::jit::Module{self_.toObject()}))
    tensors.push_back(tensor);

  std::set<const void*> places;
  for (const auto& weights : fused_weights(*function_.graph()))
    for (const auto* place : weights->places()) places.insert(place);
  for (const auto& tensor : tensors) {
    if (!tensor.has_storage())
      places.insert(tensor.unsafeGetTensorImpl()); // packed: only its wrapper is known
    else if (tensor.storage().nbytes() > 0)
      places.insert(tensor.storage().data());
  }
  return places;
}

std::vector<c10::IValue> execution::prepared(std::vector<c10::IValue> leaves, bool own) const {
  for (auto& leaf : leaves) {
    if (bf16_ && leaf.isTensor() && leaf.toTensor().is_floating_point() &&
        leaf.toTensor().scalar_type() != at::kBFloat16)
      leaf = leaf.toTensor().to(at::kBFloat16);  // a copy
    else if (sig_.writes_inputs && !own)
      leaf = leaf.deepcopy();
  }
  return leaves;
}

c10::IValue execution::with_compiled_dtypes(const c10::IValue& result) const {
  std::vector<c10::IValue> leaves;
  std::size_t tensors = 0;
  for (auto& leaf : leaves_of(result)) {
    leaves.push_back(std::move(leaf.value));
    if (!leaves.back().isTensor()) continue;
    const auto index = tensors++;
    if (leaves.back().toTensor().scalar_type() == at::kBFloat16 && index < sig_.outputs.size())
      leaves.back() = leaves.back().toTensor().to(sig_.outputs[index].dtype);
  }
  return with_leaves(result, leaves);
}

c10::IValue run_source(const torch::jit::Module& source, const signature& sig,
                       const std::vector<c10::IValue>& leaves) {
  const c10::InferenceMode guard;
  const quiet no_warnings;
  auto module = source;
  return module.forward(arguments_from(sig, cloned(leaves)));
}

}  // namespace ganglion

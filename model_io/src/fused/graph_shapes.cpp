#include "graph_shapes.hpp"

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <stdexcept>

namespace ganglion {

namespace jit = torch::jit;

namespace {

c10::IValue list_of(const jit::Node* node, jit::Stack items) {
  c10::impl::GenericList list{node->output()->type()->expectRef<c10::ListType>().getElementType()};
  for (auto& item : items) list.push_back(std::move(item));
  // As typed as the operators that take it expect.
  const auto element = list.elementType();
  if (element->kind() == c10::TypeKind::TensorType) return c10::impl::toTypedList<at::Tensor>(std::move(list));
  if (element->kind() == c10::TypeKind::IntType) return c10::impl::toTypedList<std::int64_t>(std::move(list));
  return list;
}

/// What a node makes of its inputs, as the interpreter does it. The interpreter's own functions for lists and tuples
/// are not to be had.
jit::Stack results_of(jit::Node* node, jit::Stack stack) {
  switch (node->kind()) {
    case c10::prim::ListConstruct: return {list_of(node, std::move(stack))};
    case c10::prim::ListUnpack: return stack.at(0).toList().vec();
    case c10::prim::TupleConstruct: {
      const auto type = node->output()->type()->expect<c10::TupleType>();
      if (type->name()) return {c10::ivalue::Tuple::createNamed(std::move(stack), type)};
      return {c10::ivalue::Tuple::create(std::move(stack))};
    }
    case c10::prim::TupleUnpack: return stack.at(0).toTupleRef().elements().vec();
    default: break;
  }
  if (const auto* schema = node->maybeSchema(); schema && schema->is_vararg())
    jit::push(stack, static_cast<std::int64_t>(node->inputs().size()));
  node->getOperation()(stack);
  return stack;
}

/// The values that are still needed.
class values_at_hand {
 public:
  void put(const jit::Value* value, c10::IValue content, graph_shapes& shapes) {
    if (content.isTensor() && content.toTensor().defined())
      shapes[value] = {content.toTensor().scalar_type(), content.toTensor().sizes().vec()};
    if (!value->uses().empty()) held_[value] = {std::move(content), value->uses().size()};
  }
  /// For one of its uses; the last one takes it away.
  c10::IValue take(const jit::Value* value) {
    auto& [content, left] = held_.at(value);
    auto taken = content;
    if (--left == 0) held_.erase(value);
    return taken;
  }

 private:
  struct held {
    c10::IValue content;
    std::size_t left = 0;
  };
  std::unordered_map<const jit::Value*, held> held_;
};

}  // namespace

graph_shapes shapes_in(jit::Graph& graph, std::vector<c10::IValue> arguments) {
  graph_shapes shapes;
  values_at_hand at_hand;
  for (std::size_t i = 0; i < arguments.size(); ++i)
    at_hand.put(graph.inputs()[i], std::move(arguments[i]), shapes);
  for (auto* node : graph.nodes()) {
    if (!node->blocks().empty()) throw std::runtime_error{"its graph branches"};
    if (node->kind() == c10::prim::Constant) {
      at_hand.put(node->output(), jit::toIValue(node->output()).value(), shapes);
      continue;
    }
    jit::Stack stack;
    for (const auto* input : node->inputs()) stack.push_back(at_hand.take(input));
    auto results = results_of(node, std::move(stack));
    for (std::size_t i = 0; i < node->outputs().size(); ++i)
      at_hand.put(node->outputs()[i], std::move(results.at(i)), shapes);
  }
  return shapes;
}

}  // namespace ganglion

#include "graph_check.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <fmt/format.h>
#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <algorithm>
#include <array>
#include <optional>

namespace ganglion {

namespace jit = torch::jit;

namespace {

/// Calls `visit` on every node, in the inner blocks too.
template <class Block, class Visit>
void each_node(Block* block, const Visit& visit) {
  for (auto* node : block->nodes()) {
    visit(node);
    for (auto* inner : node->blocks()) each_node(inner, visit);
  }
}

/// The inlined graph of forward, with what eval mode decides already decided.
std::shared_ptr<jit::Graph> settled_graph(const jit::Module& source, bool may_freeze) {
  try {
    if (!may_freeze) throw std::runtime_error{"it must not be frozen"};
    return jit::freeze_module(source).get_method("forward").graph();
  } catch (const std::exception&) {
    // What cannot be frozen can still be run as it is: only `self.training` is put in by hand.
    auto graph = source.get_method("forward").graph()->copy();
    jit::Inline(*graph);
    std::vector<jit::Node*> flags;
    each_node(graph->block(), [&](jit::Node* node) {
      if (node->kind() == c10::prim::GetAttr && node->s(c10::attr::name) == "training") flags.push_back(node);
    });
    for (jit::Node* flag : flags) {
      const jit::WithInsertPoint here{flag};
      flag->output()->replaceAllUsesWith(graph->insertConstant(false));
    }
    jit::ConstantPropagation(graph);
    return graph;
  }
}

/// Operators whose meaning hangs on a flag of training, and the flag's name in their schema.
constexpr std::array<std::pair<std::string_view, std::string_view>, 13> training_flags{{
    {"aten::dropout", "train"},
    {"aten::dropout_", "train"},
    {"aten::feature_dropout", "train"},
    {"aten::feature_dropout_", "train"},
    {"aten::alpha_dropout", "train"},
    {"aten::alpha_dropout_", "train"},
    {"aten::feature_alpha_dropout", "train"},
    {"aten::feature_alpha_dropout_", "train"},
    {"aten::native_dropout", "train"},
    {"aten::rrelu", "training"},
    {"aten::rrelu_", "training"},
    {"aten::batch_norm", "training"},
    {"aten::native_batch_norm", "training"},
}};

/// Dropout with a probability of 0, which some models keep switched on.
bool drops_nothing(const jit::Node* node) {
  if (!node->schema().argumentIndexWithName("p")) return false;
  const auto p = jit::toIValue(node->namedInput("p"));
  return p && p->isDouble() && p->toDouble() == 0;
}

bool trains(const jit::Node* node) {
  const std::string_view kind = node->kind().toQualString();
  for (const auto& [name, flag] : training_flags)
    if (name == kind) {
      const auto on = jit::toIValue(node->namedInput(std::string{flag}));
      return on && on->isBool() && on->toBool() && !drops_nothing(node);
    }
  return false;
}

/// Whether some operator may write to a tensor inside of a container.
bool writes_inside(jit::Graph& graph, const jit::AliasDb& aliases, jit::Value* container) {
  if (container->type()->isSubtypeOf(*c10::TensorType::get())) return false;
  bool found = false;
  each_node(graph.block(), [&](jit::Node* node) {
    const auto* schema = node->maybeSchema();
    for (std::size_t i = 0; schema && i < std::min(schema->arguments().size(), node->inputs().size()); ++i) {
      const auto* alias = schema->arguments()[i].alias_info();
      found = found || (alias && alias->isWrite() && aliases.mayContainAlias(node->input(i), container));
    }
  });
  return found;
}

failure changes(const jit::Node* node) {
  if (node->kind() != c10::prim::Constant)
    return {errc::unsupported_model, changes_attribute(node->s(c10::attr::name))};
  return {errc::unsupported_model, changes_attribute("(a constant of its code)")};
}

void append_tensors(const c10::IValue& value, const std::string& name,
                    std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  if (value.isModule()) {
    const jit::Module module{value.toObject()};
    for (std::size_t slot = 0; slot < module.type()->numAttributes(); ++slot) {
      const auto& attribute = module.type()->getAttributeName(slot);
      append_tensors(module._ivalue()->getSlot(slot), name.empty() ? attribute : name + "." + attribute,
                     tensors);
    }
    return;
  }
  for (auto& leaf : leaves_of(value, name))
    if (leaf.value.isTensor() && leaf.value.toTensor().defined())
      tensors.emplace_back(std::move(leaf.path), leaf.value.toTensor());
}

}  // namespace

std::string changes_attribute(const std::string& name) {
  return fmt::format(
      "the module changes its own attribute {}: its answers would depend on earlier calls, and its copies "
      "on the cores would drift apart",
      name);
}

expected<graph_facts> check_graph(const jit::Module& source, bool may_freeze) {
  const auto graph = settled_graph(source, may_freeze);
  const jit::AliasDb aliases{graph, /*isFrozen=*/true};
  std::optional<failure> found;
  each_node(graph->block(), [&](jit::Node* node) {
    if (found) return;
    const auto kind = node->kind();
    if (kind == c10::prim::SetAttr)
      found = changes(node);
    else if (may_freeze && (kind == c10::prim::GetAttr || kind == c10::prim::Constant) &&
             aliases.hasWriters(node->output()))
      found = changes(node);
    else if (trains(node))
      found = failure{
          errc::unsupported_model,
          fmt::format("the module has training wired into its graph: {} is called with training on; trace "
                      "or script it in eval mode",
                      node->kind().toQualString())};
  });
  if (found) return *found;
  graph_facts facts;
  for (jit::Value* input : graph->inputs().slice(1))
    facts.writes_inputs =
        facts.writes_inputs || aliases.hasWriters(input) || writes_inside(*graph, aliases, input);
  return facts;
}

std::vector<std::pair<std::string, at::Tensor>> held_tensors(const jit::Module& module) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  append_tensors(module._ivalue(), {}, tensors);
  return tensors;
}

std::vector<at::Tensor> constant_tensors(const jit::Graph& graph) {
  std::vector<at::Tensor> tensors;
  each_node(graph.block(), [&](const jit::Node* node) {
    // A constant, or one of the kinds that hold packed weights.
    if (!node->hasAttribute(c10::attr::value) || node->outputs().size() != 1 ||
        node->output()->uses().empty())
      return;
    if (node->kindOf(c10::attr::value) == jit::AttributeKind::t)
      tensors.push_back(node->t(c10::attr::value));
    else if (const auto value = jit::toIValue(node->output()))
      for (auto& leaf : leaves_of(*value))
        if (leaf.value.isTensor() && leaf.value.toTensor().defined())
          tensors.push_back(leaf.value.toTensor());
  });
  return tensors;
}

}  // namespace ganglion

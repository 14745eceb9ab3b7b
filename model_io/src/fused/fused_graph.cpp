#include "fused_graph.hpp"

#include "fused_node.hpp"
#include "graph_shapes.hpp"
#include "plan_writer.hpp"
#include "primitives.hpp"

#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <algorithm>
#include <list>
#include <stdexcept>
#include <unordered_set>

namespace ganglion {

namespace jit = torch::jit;

namespace {

bool is_mutable(const jit::Node* node) {
  const auto* schema = node->maybeSchema();
  return schema && schema->is_mutable();
}

/// Nodes that go together into one plan, in the order of the graph. Between them are only nodes that need none of what
/// they make, and that write nowhere.
class segment {
 public:
  segment(const graph_shapes& shapes, weights_by_tensor& weights) : writer_(shapes, weights) {}

  bool add(jit::Node* node) {
    if (!writer_.add(node)) return false;
    nodes_.push_back(node);
    inside_.insert(node);
    return true;
  }

  /// Whether a node that is not in it may stand between those that are.
  bool bears(const jit::Node* node) const {
    if (is_mutable(node)) return false;
    return std::none_of(node->inputs().begin(), node->inputs().end(),
                        [&](const jit::Value* input) { return inside_.contains(input->node()); });
  }

  /// Puts a fused node into the place of its nodes. Returns its plan, or null where that was not worth it.
  std::shared_ptr<const fused_plan> replace(jit::Graph& graph, bool winograd) && {
    if (!writer_.has_heavy_steps()) return nullptr;
    const auto outputs = values_used_outside();
    const auto inputs = writer_.inputs();
    auto* last = nodes_.back();
    auto* list = graph.createList(c10::TensorType::get(), inputs)->insertBefore(last);
    auto plan = std::make_shared<fused_plan>(std::move(writer_).finish(outputs));
    plan->winograd = winograd;
    auto* fused = make_fused_node(graph, list->output(), plan)->insertBefore(last);
    auto* unpacked = graph.createListUnpack(fused->output(), outputs.size())->insertBefore(last);
    for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i]->replaceAllUsesWith(unpacked->outputs()[i]);
    for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) (*node)->destroy();
    return plan;
  }

 private:
  std::vector<jit::Value*> values_used_outside() const {
    std::vector<jit::Value*> used;
    for (auto* node : nodes_) {
      const auto& uses = node->output()->uses();
      if (std::all_of(uses.begin(), uses.end(), [&](const jit::Use& use) { return inside_.contains(use.user); }))
        continue;
      // What shares memory with another value inside would do so no more.
      for (const auto& use : uses)
        if (is_mutable(use.user) && !inside_.contains(use.user))
          throw std::runtime_error{"one of its operators writes to what a fused one made"};
      used.push_back(node->output());
    }
    return used;
  }

  plan_writer writer_;
  std::vector<jit::Node*> nodes_;
  std::unordered_set<const jit::Node*> inside_;
};

}  // namespace

void fuse(jit::Graph& graph, const std::vector<c10::IValue>& arguments, weights_by_tensor& weights, bool winograd) {
  const auto shapes = shapes_in(graph, arguments);
  std::list<segment> segments;
  segment* open = nullptr;
  for (auto* node : graph.nodes()) {
    if (node->kind() == c10::prim::Constant || (open && (open->add(node) || open->bears(node)))) continue;
    open = nullptr;
    if (segment fresh{shapes, weights}; fresh.add(node)) open = &segments.emplace_back(std::move(fresh));
  }
  bool any = false, any_by_winograd = false;
  // The last one first: what an earlier one makes is replaced in those after it.
  for (auto s = segments.rbegin(); s != segments.rend(); ++s) {
    const auto plan = std::move(*s).replace(graph, winograd);
    if (!plan) continue;
    any = true;
    any_by_winograd = any_by_winograd || (winograd && std::ranges::any_of(plan->steps, [&](const fused_step& step) {
                        return can_use_winograd(*plan, step);
                      }));
  }
  if (winograd && !any_by_winograd)
    throw std::runtime_error{"it has no convolution that oneDNN does by Winograd's method here"};
  if (!any) throw std::runtime_error{"it has no convolution and no linear layer with constant weights"};
  jit::EliminateDeadCode(graph.block());
}

}  // namespace ganglion

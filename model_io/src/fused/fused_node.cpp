#include "fused_node.hpp"

#include "fused_graph.hpp"
#include "fused_program.hpp"

#include <torch/csrc/jit/runtime/operator.h>

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

namespace ganglion {

namespace jit = torch::jit;

namespace {

const auto program_attribute = c10::Symbol::attr("ganglion_program");

/// A plan, and its program from the first run on: made on the thread that runs it.
struct lazy_program : torch::CustomClassHolder {
  explicit lazy_program(std::shared_ptr<const fused_plan> p) : plan(std::move(p)) {}

  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs) {
    if (!program) program = std::make_unique<fused_program>(plan);
    return program->run(inputs);
  }

  const std::shared_ptr<const fused_plan> plan;
  std::unique_ptr<fused_program> program;
};

c10::intrusive_ptr<lazy_program> program_of(const jit::Node* node) {
  return c10::static_intrusive_pointer_cast<lazy_program>(node->ival(program_attribute).toCapsule());
}

void set_program(jit::Node* node, std::shared_ptr<const fused_plan> plan) {
  node->ival_(program_attribute, c10::IValue::make_capsule(c10::make_intrusive<lazy_program>(std::move(plan))));
}

jit::Operation operation_of(const jit::Node* node) {
  return [program = program_of(node)](jit::Stack& stack) {
    auto outputs = program->run(jit::pop(stack).toTensorVector());
    jit::push(stack, std::move(outputs));
  };
}

/// The operator of a graph's fused node of a number. LibTorch's interpreter takes one operation for all nodes of one
/// operator, so each has an operator of its own.
c10::Symbol kind_of(std::size_t number) {
  static std::mutex mutex;
  static std::size_t registered = 0;
  std::lock_guard lock(mutex);
  for (; registered <= number; ++registered)
    jit::registerOperator(jit::Operator{fmt::format("ganglion::fused_{}(Tensor[] inputs) -> Tensor[]", registered),
                                        operation_of, c10::AliasAnalysisKind::PURE_FUNCTION});
  return c10::Symbol::fromQualString(fmt::format("ganglion::fused_{}", number));
}

template <class Graph, class Visit>
void for_each_fused(Graph& graph, Visit visit) {
  for (auto* node : graph.nodes())
    if (node->hasAttribute(program_attribute)) visit(node);
}

}  // namespace

jit::Node* make_fused_node(jit::Graph& graph, jit::Value* inputs, std::shared_ptr<const fused_plan> plan) {
  auto* node = graph.create(kind_of(fused_plans(graph).size()), {inputs}, 1);
  node->output()->setType(c10::ListType::ofTensors());
  set_program(node, std::move(plan));
  return node;
}

std::vector<std::shared_ptr<const fused_plan>> fused_plans(const jit::Graph& graph) {
  std::vector<std::shared_ptr<const fused_plan>> plans;
  for_each_fused(graph, [&](const jit::Node* node) { plans.push_back(program_of(node)->plan); });
  return plans;
}

void own_fused_programs(jit::Graph& graph) {
  for_each_fused(graph, [](jit::Node* node) { set_program(node, program_of(node)->plan); });
}

std::vector<std::shared_ptr<packable_weights>> fused_weights(const jit::Graph& graph) {
  std::vector<std::shared_ptr<packable_weights>> all;
  const auto add = [&](const std::shared_ptr<packable_weights>& weights) {
    if (weights && std::find(all.begin(), all.end(), weights) == all.end()) all.push_back(weights);
  };
  for (const auto& plan : fused_plans(graph))
    for (const auto& step : plan->steps) {
      add(step.weights);
      add(step.bias);
    }
  return all;
}

}  // namespace ganglion

#pragma once

#include "fused_plan.hpp"

#include <torch/csrc/jit/ir/ir.h>

#include <memory>
#include <vector>

namespace ganglion {

/// Makes a node that computes a plan: `ganglion::fused_N(Tensor[]) -> Tensor[]`. It is not in the graph yet, and must
/// be before the next one is made.
torch::jit::Node* make_fused_node(torch::jit::Graph& graph, torch::jit::Value* inputs,
                                  std::shared_ptr<const fused_plan> plan);

/// The plans of the fused nodes of a graph.
std::vector<std::shared_ptr<const fused_plan>> fused_plans(const torch::jit::Graph& graph);

}  // namespace ganglion

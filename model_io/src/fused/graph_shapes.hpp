#pragma once

#include "fused_plan.hpp"

#include <torch/csrc/jit/ir/ir.h>

#include <unordered_map>
#include <vector>

namespace ganglion {

/// What tensors the values of a graph are.
using graph_shapes = std::unordered_map<const torch::jit::Value*, fused_value>;

/// Runs a graph once, node by node, and notes dtype and sizes of every tensor. Throws std::runtime_error for a graph
/// that branches, and what LibTorch throws.
graph_shapes shapes_in(torch::jit::Graph& graph, std::vector<c10::IValue> arguments);

}  // namespace ganglion

#pragma once

#include "packable_weights.hpp"

#include <torch/csrc/jit/ir/ir.h>

#include <map>
#include <memory>
#include <vector>

namespace ganglion {

/// The weights of a model's fused programs, by the tensors in the graphs that they come from: programs for several
/// shapes share them.
using weights_by_tensor = std::map<c10::TensorImpl*, std::pair<at::Tensor, std::shared_ptr<packable_weights>>>;

/// Replaces runs of convolutions, linear layers and what goes with them in a graph by nodes that compute a
/// `fused_plan`, for inputs of exactly the sizes of `arguments` (forward's, the module first). The graph must be
/// a frozen module's. Throws std::runtime_error where there is nothing to replace, the graph branches, or `winograd` is
/// asked for and oneDNN can do nothing so.
void fuse(torch::jit::Graph& graph, const std::vector<c10::IValue>& arguments, weights_by_tensor& weights,
          bool winograd = false);

/// Gives each fused node of a graph a program of its own, over the same plan and weights: for a graph that another
/// thread will run.
void own_fused_programs(torch::jit::Graph& graph);

/// The weights of the fused nodes of a graph, each once.
std::vector<std::shared_ptr<packable_weights>> fused_weights(const torch::jit::Graph& graph);

}  // namespace ganglion

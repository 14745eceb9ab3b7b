#pragma once

#include <ganglion/model_io/error.hpp>

#include <torch/csrc/jit/api/module.h>

#include <string>
#include <utility>
#include <vector>

namespace ganglion {

struct graph_facts {
  /// Whether forward may write to its inputs.
  bool writes_inputs = false;
};

/// Looks for what cannot be compiled: a forward that changes its own attributes, or has training wired into
/// it. Code that eval mode never reaches does not count. `may_freeze`: not where freezing the module is known to crash:
/// then less is known of what is never reached, and writes to tensors are left to be seen when they happen.
/// Errors: `unsupported_model`.
expected<graph_facts> check_graph(const torch::jit::Module& source, bool may_freeze);

/// The sentence that refuses a module for changing an attribute.
std::string changes_attribute(const std::string& name);

/// The tensors that the module holds: parameters, buffers and those in other attributes, with their names.
std::vector<std::pair<std::string, at::Tensor>> held_tensors(const torch::jit::Module& module);

/// The tensor constants that a graph uses, in its inner blocks too.
std::vector<at::Tensor> constant_tensors(const torch::jit::Graph& graph);

}  // namespace ganglion

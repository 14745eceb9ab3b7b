#pragma once

#include "fused_graph.hpp"
#include "fused_plan.hpp"
#include "graph_shapes.hpp"

#include <torch/csrc/jit/ir/ir.h>

#include <unordered_map>

namespace ganglion {

/// Writes the steps of a plan, one node of a graph after another.
class plan_writer {
 public:
  plan_writer(const graph_shapes& shapes, weights_by_tensor& weights) : shapes_(shapes), weights_(weights) {}

  /// Adds what the node does, or returns false: it is none of what a plan can do.
  bool add(torch::jit::Node* node);
  /// Whether the plan makes the value or takes it as an input.
  bool knows(const torch::jit::Value* value) const { return numbers_.contains(value); }
  bool has_heavy_steps() const;
  /// The values that the plan takes, in the order of its inputs.
  const std::vector<torch::jit::Value*>& inputs() const { return inputs_; }
  /// The plan that makes the given values, with its steps joined.
  fused_plan finish(const std::vector<torch::jit::Value*>& outputs) &&;

 private:
  using handler = bool (plan_writer::*)(torch::jit::Node*);
  static handler handler_of(std::string_view name);

  bool convolution(torch::jit::Node* node);
  bool linear(torch::jit::Node* node);
  bool binary(torch::jit::Node* node);
  bool each_element(torch::jit::Node* node);
  bool max_pool(torch::jit::Node* node);
  bool mean_pool(torch::jit::Node* node);
  bool adaptive_mean_pool(torch::jit::Node* node);
  bool mean(torch::jit::Node* node);
  bool reshape(torch::jit::Node* node);
  bool nothing(torch::jit::Node* node);

  const fused_value* shape_of(const torch::jit::Value* value) const;
  bool is_supported(const torch::jit::Value* value, std::size_t dimensions) const;
  bool overwrites_what_others_see(const torch::jit::Node* node) const;
  std::shared_ptr<packable_weights> packable(const at::Tensor& tensor);
  std::size_t number_of(torch::jit::Value* value);
  void add_step(fused_step step, torch::jit::Node* node, std::vector<torch::jit::Value*> inputs);

  const graph_shapes& shapes_;
  weights_by_tensor& weights_;
  fused_plan plan_;
  std::vector<torch::jit::Value*> inputs_;
  std::unordered_map<const torch::jit::Value*, std::size_t> numbers_;
};

}  // namespace ganglion

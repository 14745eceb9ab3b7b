#include "channels_last.hpp"

#include <torch/csrc/jit/ir/constants.h>

#include <algorithm>
#include <stdexcept>

namespace ganglion {

namespace jit = torch::jit;

namespace {

bool is_convolution(const jit::Node* node) {
  return node->kind() == c10::aten::_convolution || node->kind() == c10::aten::conv2d;
}

/// The constant weights of a convolution over images.
std::optional<at::Tensor> image_weights(const jit::Node* node) {
  const auto weights = jit::toIValue(node->inputs()[1]);
  if (!weights || !weights->isTensor() || weights->toTensor().dim() != 4) return {};
  return weights->toTensor();
}

}  // namespace

void use_channels_last(jit::Graph& graph, const signature& sig) {
  bool any = false;
  for (auto* node : graph.nodes()) {
    if (!is_convolution(node)) continue;
    const auto weights = image_weights(node);
    if (!weights) continue;
    const jit::WithInsertPoint here{node};
    node->replaceInput(1, graph.insertConstant(weights->contiguous(at::MemoryFormat::ChannelsLast)));
    any = true;
  }
  if (!any) throw std::runtime_error{"it has no convolution over images with constant weights"};

  const jit::WithInsertPoint start{*graph.nodes().begin()};
  // The module itself is the first input. Tensors inside of containers stay as they are.
  std::size_t tensors = 0;
  for (std::size_t i = 1; i < graph.inputs().size() && i <= sig.example.size(); ++i) {
    if (!sig.example[i - 1].isTensor()) break;
    auto* input = graph.inputs()[i];
    if (sig.inputs[tensors++].shape.size() != 4 || input->uses().empty()) continue;
    const jit::NamedValue format{"memory_format", static_cast<int>(at::MemoryFormat::ChannelsLast)};
    auto* reordered = graph.insert(c10::aten::contiguous, {input}, {format});
    input->replaceAllUsesAfterNodeWith(reordered->node(), reordered);
  }
}

}  // namespace ganglion

#pragma once

#include <torch/csrc/jit/ir/ir.h>

namespace ganglion {

/// Writes LibTorch's whole layers of a Transformer's encoder (`aten::_transformer_encoder_layer_fwd`, which a module in
/// eval mode is traced as) out as the operators that they are made of, so that their linear layers can be fused. Those
/// with a mask stay.
void write_out_encoder_layers(torch::jit::Graph& graph);

}  // namespace ganglion

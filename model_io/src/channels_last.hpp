#pragma once

#include <ganglion/model_io/signature.hpp>

#include <torch/csrc/jit/ir/ir.h>

namespace ganglion {

/// Makes a frozen graph compute its convolutions with the channels as the innermost dimension: inputs and weights of
/// four dimensions are brought into that order, and LibTorch's operators keep it. Throws std::runtime_error for a graph
/// without convolutions over images.
void use_channels_last(torch::jit::Graph& graph, const signature& sig);

}  // namespace ganglion

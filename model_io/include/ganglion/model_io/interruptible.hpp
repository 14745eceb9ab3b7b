#pragma once

#include <ganglion/model_io/model.hpp>

#include <stop_token>

namespace ganglion {

/// `trace` that ends when the stop token says so, between two runs of the model. Errors besides: `cancelled`.
compiled_model trace(const torch::jit::Module& module, std::vector<c10::IValue> example_inputs, trace_options options,
                     std::stop_token stop);

/// `restore`, likewise.
compiled_model restore(const torch::jit::Module& module, std::stop_token stop);

}  // namespace ganglion

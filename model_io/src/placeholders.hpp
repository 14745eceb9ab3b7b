#pragma once

#include <ganglion/model_io/signature.hpp>

namespace ganglion {

/// A tensor of the given dtype and sizes that takes the memory of one element.
at::Tensor placeholder(at::ScalarType dtype, at::IntArrayRef shape);

/// The tree with a placeholder in the place of every tensor.
c10::IValue with_placeholders(const c10::IValue& tree);

/// Fills `inputs` and `outputs` from `example` and `result`.
void name_tensors(signature& sig);

}  // namespace ganglion

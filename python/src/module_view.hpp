#pragma once

#include <torch/csrc/jit/api/module.h>

namespace ganglion::python {

/// A module of its own types, attributes and tensors over the same memory of weights. What is done to one
/// side (moved to eval mode, cast, given an attribute) leaves the other alone; and no tensor of one side is
/// known to the Python of the other, so that an engine's thread may let go of it without asking Python.
torch::jit::Module view_of(const torch::jit::Module& module);

}  // namespace ganglion::python

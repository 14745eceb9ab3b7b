#pragma once

#include <ATen/core/Tensor.h>

/// Tensors of Python's that the engine reads.
namespace ganglion::python {

/// A tensor over the same memory that any thread may let go of. The given one, and with it whatever owns the
/// memory (a NumPy array, a Python object), is let go of under the GIL, by `release_kept` or soon after.
at::Tensor lent(const at::Tensor& tensor);

/// Lets go of what the engine has finished with. The caller holds the GIL.
void release_kept();

/// From now on it is left alone: the interpreter is ending.
void leak_kept();

}  // namespace ganglion::python

#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

/// Tensors of Python's that the engine reads.
namespace ganglion::python {

/// A tensor over the same memory that any thread may let go of. The given one, and with it whatever owns the
/// memory (a NumPy array, a Python object), is let go of under the GIL, by `release_kept` or soon after. TypeError for
/// one whose values are in no memory that could be read; `where` names it.
at::Tensor lent(const at::Tensor& tensor, std::string_view where);

/// Lets go of what the engine has finished with: called with the next answers, and by the thread that tells futures.
/// The caller holds the GIL.
void release_kept();

/// From now on it is left alone: the interpreter is ending.
void leak_kept();

}  // namespace ganglion::python

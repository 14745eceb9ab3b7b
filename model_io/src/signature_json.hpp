#pragma once

#include <ATen/core/ivalue.h>

namespace ganglion {

/// Whether a leaf has a place in the JSON of a signature: tensors, numbers, strings, None, and lists of such values.
bool is_storable(const c10::IValue& leaf);

}  // namespace ganglion

#pragma once

#include <ganglion/model_io/error.hpp>

#include <ATen/core/ivalue.h>

#include <filesystem>

namespace ganglion {

/// Reads a tensor or a tuple of tensors, nested or not, from a file of `torch.save`'s zip format. Any bytes
/// are safe: the pickle is taken apart but not executed, and each tensor must lie within its storage. The
/// failures' texts are the end of a sentence whose beginning names the file. Errors: `invalid_argument`.
expected<c10::IValue> read_torch_file(const std::filesystem::path& path);

}  // namespace ganglion

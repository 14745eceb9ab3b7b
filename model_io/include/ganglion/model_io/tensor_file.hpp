#pragma once

#include <ganglion/model_io/error.hpp>

#include <ATen/core/ivalue.h>

#include <filesystem>

/// Any thread, several at once. Who reads a path while it is written gets the old file or the new one.
namespace ganglion {

/// Reads a tensor or a tuple of tensors as `torch.save` writes it (zip format), or one tensor as NumPy's `.npy`
/// (versions 1 to 3, C or Fortran order, little endian). What the file is, is read from its first bytes.
/// Errors: `io_failed` (cannot be read), `invalid_argument` (holds something else).
expected<c10::IValue> read_tensor_file(const std::filesystem::path& path);

/// Whether `write_tensor_file` writes NumPy's format there: the path ends in `.npy`, in letters of either case.
bool is_npy_path(const std::filesystem::path& path);

/// Writes a Tensor or a tuple as `torch.load` reads it, or as NumPy's `.npy` where `is_npy_path`. Tensors are written
/// compact (a view's storage is not); nobody may change them meanwhile. The file is whole or as it was before.
/// Errors: `io_failed`; `invalid_argument` for a tuple to `.npy` or a dtype that NumPy lacks.
expected<void> write_tensor_file(const c10::IValue& value, const std::filesystem::path& path);

}  // namespace ganglion

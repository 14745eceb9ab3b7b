#pragma once

#include <ganglion/model_io/error.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <istream>
#include <string>
#include <string_view>

namespace ganglion {

/// The first bytes of every `.npy` file.
inline constexpr std::string_view npy_magic{"\x93NUMPY"};

/// Reads one array from the start of a stream of `size` bytes. The failures' texts are the end of a sentence
/// whose beginning names the file.
expected<at::Tensor> read_npy(std::istream& in, std::uint64_t size);

/// The header of a contiguous tensor, after which its bytes follow. Errors: `invalid_argument`, a dtype that
/// NumPy lacks.
expected<std::string> npy_header(at::ScalarType dtype, at::IntArrayRef shape);

}  // namespace ganglion

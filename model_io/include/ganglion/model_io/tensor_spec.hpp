#pragma once

#include <ganglion/model_io/error.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ganglion {

/// What is known of one tensor ahead of time: element type, sizes of all dimensions, and a name for messages.
struct tensor_spec {
  at::ScalarType dtype = at::ScalarType::Float;
  std::vector<std::int64_t> shape;
  std::string name;

  friend bool operator==(const tensor_spec&, const tensor_spec&) = default;
};

/// The short name of an element type: f32, f64, f16, bf16, i8, i16, i32, i64, u8, bool; c64 and c128 of the
/// complex ones, LibTorch's own for the others.
std::string dtype_name(at::ScalarType dtype);

/// The reverse of `dtype_name`, for the ten short names.
expected<at::ScalarType> parse_dtype(std::string_view text);

/// `f32[1,3,224,224]`.
std::string to_string(const tensor_spec& spec);
std::string to_string(at::ScalarType dtype, at::IntArrayRef shape);

/// Reads `f32[1,3,224,224]`; sizes are positive (0 is refused), `f32[]` is a 0-dimensional tensor.
/// Errors: `invalid_argument`, quoting the text.
expected<tensor_spec> parse_tensor_spec(std::string_view text);

/// The specification of a tensor at hand.
tensor_spec spec_of(const at::Tensor& tensor, std::string name = {});

/// Whether all values of a dense tensor on the CPU lie in its memory: not where that was freed or made smaller
/// (`resize_` of its storage), and not in a wrapper that computes them.
bool has_its_values(const at::Tensor& tensor);

/// A random tensor of the spec: floats uniform in [0, 1), integers in [0, 10), bools even. Seeded, so repeatable.
at::Tensor random_tensor(const tensor_spec& spec, std::uint64_t seed);

}  // namespace ganglion

#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <optional>
#include <string>

namespace ganglion {

/// The most dimensions that a tensor from outside may have: what LibTorch's own operators take.
inline constexpr std::size_t max_rank = 64;

/// The bytes of a contiguous tensor. Nothing where a size is negative, there are too many dimensions, or a
/// product, also one that leaves out the empty dimensions, does not fit: such sizes are unsafe to hand to
/// LibTorch.
std::optional<std::size_t> raw_bytes(at::ScalarType dtype, at::IntArrayRef shape);

/// `2,3`; of more than eight numbers the first ones and how many there are: `1,1,1,1,1,1,1,1,... 5000 in all`.
std::string short_list(at::IntArrayRef numbers);

/// Makes every byte of a bool storage 0 or 1. Bytes from outside may hold others, which C++ does not define.
void tidy_bools(char* data, std::size_t size);

}  // namespace ganglion

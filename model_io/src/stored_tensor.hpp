#pragma once

#include "pickle_reader.hpp"

#include <c10/core/ScalarType.h>

#include <optional>

namespace ganglion {

/// Where a tensor lies in its storage, in elements.
struct tensor_extent {
  std::int64_t offset = 0;
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;
};

/// From the arguments (storage, offset, sizes, strides, ...) of the function that makes a tensor anew; nothing where
/// they are no such numbers.
std::optional<tensor_extent> extent_of(const std::vector<pickle_item_ptr>& arguments);

/// The bytes from the storage's begin to the tensor's last element; nothing where that is no sensible number.
std::optional<std::size_t> reach(at::ScalarType dtype, const tensor_extent& extent);

/// What is said of one that reaches past its storage: `sizes [2,3] with strides [3,1] at 0 are not within ...`.
std::string not_within(const tensor_extent& extent, std::size_t storage_bytes);

}  // namespace ganglion

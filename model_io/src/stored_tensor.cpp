#include "stored_tensor.hpp"

#include "raw_tensor.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ganglion {

namespace {

using kind = pickle_item::kind;

/// The numbers of a tuple of integers.
std::optional<std::vector<std::int64_t>> integers(const pickle_item& item) {
  if (item.what != kind::tuple) return {};
  std::vector<std::int64_t> numbers;
  for (const auto& part : item.parts) {
    if (part->what != kind::integer) return {};
    numbers.push_back(part->number);
  }
  return numbers;
}

}  // namespace

std::optional<tensor_extent> extent_of(const std::vector<pickle_item_ptr>& arguments) {
  if (arguments.size() < 4 || arguments[1]->what != kind::integer) return {};
  auto sizes = integers(*arguments[2]);
  auto strides = integers(*arguments[3]);
  if (!sizes || !strides) return {};
  return tensor_extent{arguments[1]->number, std::move(*sizes), std::move(*strides)};
}

std::optional<std::size_t> reach(at::ScalarType dtype, const tensor_extent& extent) {
  const auto& [offset, sizes, strides] = extent;
  auto bytes = raw_bytes(dtype, sizes);
  if (!bytes || sizes.size() != strides.size() || offset < 0) return {};
  std::int64_t last = offset;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    std::int64_t step = 0;
    if (strides[i] < 0 || __builtin_mul_overflow(std::max<std::int64_t>(sizes[i] - 1, 0), strides[i], &step) ||
        __builtin_add_overflow(last, step, &last))
      return {};
  }
  std::int64_t end = 0;
  if (__builtin_add_overflow(last, 1, &last) ||
      __builtin_mul_overflow(last, static_cast<std::int64_t>(c10::elementSize(dtype)), &end))
    return {};
  return *bytes == 0 ? 0 : static_cast<std::size_t>(end);
}

std::string not_within(const tensor_extent& extent, std::size_t storage_bytes) {
  return fmt::format("sizes [{}] with strides [{}] at {} are not within its storage of {} bytes",
                     short_list(extent.sizes), short_list(extent.strides), extent.offset, storage_bytes);
}

}  // namespace ganglion

#include "raw_tensor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace ganglion {

std::optional<std::size_t> raw_bytes(at::ScalarType dtype, at::IntArrayRef shape) {
  if (shape.size() > max_rank) return {};
  auto bytes = static_cast<std::int64_t>(c10::elementSize(dtype));
  bool empty = false;
  for (std::int64_t size : shape) {
    if (size < 0) return {};
    empty = empty || size == 0;
    if (__builtin_mul_overflow(bytes, std::max<std::int64_t>(size, 1), &bytes)) return {};
  }
  return empty ? 0 : static_cast<std::size_t>(bytes);
}

std::string short_list(at::IntArrayRef numbers) {
  constexpr std::size_t most = 8;
  const auto shown = numbers.slice(0, std::min(numbers.size(), most));
  const auto text = fmt::format("{}", fmt::join(shown.begin(), shown.end(), ","));
  return numbers.size() <= most ? text : fmt::format("{},... {} in all", text, numbers.size());
}

void tidy_bools(char* data, std::size_t size) {
  std::transform(data, data + size, data, [](char byte) { return static_cast<char>(byte != 0); });
}

}  // namespace ganglion

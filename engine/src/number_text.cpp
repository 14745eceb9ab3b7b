#include "number_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

namespace ganglion {

std::optional<std::size_t> parse_decimal(std::string_view text) noexcept {
  auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_digit)) return std::nullopt;
  std::size_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc::result_out_of_range ? std::numeric_limits<std::size_t>::max() : value;
}

std::string format_ranges(std::span<const std::size_t> ascending) {
  std::string text;
  for (std::size_t first = 0; first < ascending.size();) {
    auto last = first;
    while (last + 1 < ascending.size() && ascending[last + 1] == ascending[last] + 1) ++last;
    if (!text.empty()) text += ", ";
    text += last == first ? fmt::format("{}", ascending[first])
                          : fmt::format("{}-{}", ascending[first], ascending[last]);
    first = last + 1;
  }
  return text;
}

}  // namespace ganglion

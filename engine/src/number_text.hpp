#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ganglion {

/// The value of text that is one or more decimal digits and nothing else (no sign, no space); nothing for any
/// other text. A number too large for the type is its largest value, so that the caller's own bound refuses
/// it.
std::optional<std::size_t> parse_decimal(std::string_view text) noexcept;

/// Ascending numbers as people write them: `0-6, 9, 11-12`.
std::string format_ranges(std::span<const std::size_t> ascending);

}  // namespace ganglion

#pragma once

#include <optional>
#include <string_view>

namespace ganglion::command {

/// The seconds of a duration with its unit: `15ms`, `0.5s`, `800us`. Nothing for any other text, or one that is not
/// above zero.
std::optional<double> parse_duration(std::string_view text);

}  // namespace ganglion::command

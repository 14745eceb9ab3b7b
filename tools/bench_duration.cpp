#include "bench_duration.hpp"

#include <charconv>
#include <cmath>

namespace ganglion::command {

std::optional<double> parse_duration(std::string_view text) {
  double value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || !std::isfinite(value)) return {};
  const auto unit = text.substr(static_cast<std::size_t>(end - text.data()));
  if (unit == "s") return value;
  if (unit == "ms") return value * 1e-3;
  if (unit == "us") return value * 1e-6;
  return {};
}

}  // namespace ganglion::command

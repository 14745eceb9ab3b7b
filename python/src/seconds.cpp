#include "seconds.hpp"

#include <ganglion/model_io/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace ganglion::python {

namespace {

/// Short enough to be added to a time.
constexpr double longest = 1e9;

}  // namespace

std::chrono::nanoseconds seconds_from(std::string_view name, double seconds) {
  if (std::isnan(seconds) || seconds < 0)
    throw error(errc::invalid_argument, fmt::format("{} is {} s: give a number that is not negative", name, seconds));
  const std::chrono::duration<double> time(std::min(seconds, longest));
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time);
}

}  // namespace ganglion::python

#pragma once

#include <chrono>
#include <string_view>

namespace ganglion::python {

/// Python's seconds, cut to longer than any program runs. Throws `error` with `invalid_argument` where they are
/// negative or no number.
std::chrono::nanoseconds seconds_from(std::string_view name, double seconds);

}  // namespace ganglion::python

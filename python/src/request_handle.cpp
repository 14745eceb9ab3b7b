#include "request_handle.hpp"

#include "lifetime.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace ganglion::python {

namespace {

using clock = std::chrono::steady_clock;

/// Longer than any program runs, and short enough to be added to a time.
constexpr double longest_timeout = 1e9;

priority priority_named(const std::string& name) {
  for (const auto p : std::array{priority::high, priority::normal, priority::low})
    if (name == to_string(p)) return p;
  throw error(errc::invalid_argument, fmt::format("priority is '{}': give 'high', 'normal' or 'low'", name));
}

}  // namespace

request_options request_wish::options() const {
  request_options result;
  result.priority = priority_named(priority);
  result.tenant = tenant;
  if (timeout) {
    if (std::isnan(*timeout) || *timeout < 0)
      throw error(errc::invalid_argument, fmt::format("timeout is {} s: give a number that is not negative", *timeout));
    const std::chrono::duration<double> time(std::min(*timeout, longest_timeout));
    result.deadline = clock::now() + std::chrono::duration_cast<clock::duration>(time);
  }
  return result;
}

void request_handle::cancel() {
  if (must_leak()) return;
  const without_gil others_run;
  source_.request_stop();
}

}  // namespace ganglion::python

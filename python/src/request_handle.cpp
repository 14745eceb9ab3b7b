#include "request_handle.hpp"

#include "lifetime.hpp"
#include "seconds.hpp"

#include <fmt/format.h>

#include <array>

namespace ganglion::python {

namespace {

using clock = std::chrono::steady_clock;

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
  if (timeout) result.deadline = clock::now() + seconds_from("timeout", *timeout);
  return result;
}

void request_handle::cancel() {
  if (must_leak()) return;
  const without_gil others_run;
  source_.request_stop();
}

}  // namespace ganglion::python

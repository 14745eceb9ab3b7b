#include <ganglion/actors/protocol/coalescing_options.hpp>
#include <ganglion/actors/protocol/request_options.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace ganglion {

std::string_view to_string(priority p) noexcept {
  switch (p) {
    case priority::high: return "high";
    case priority::normal: return "normal";
    case priority::low: return "low";
  }
  return "unknown";
}

expected<void> validate(const request_options& options) {
  auto value = static_cast<std::size_t>(options.priority);
  if (value < priority_count) return {};
  return failure{errc::invalid_argument,
                 fmt::format("the priority is {}, but must be 0 for high, 1 for normal or 2 for low", value)};
}

expected<void> validate(const coalescing_options& options) {
  if (options.max_queue_delay.count() < 0)
    return failure{
        errc::invalid_argument,
        fmt::format("max_queue_delay is {} ns, but a batch cannot wait for less than 0: give a positive time, or 0 "
                    "to wait for nothing",
                    options.max_queue_delay.count())};
  if (options.ageing.count() < 0)
    return failure{
        errc::invalid_argument,
        fmt::format("ageing is {} ns, but requests cannot rise after less than 0: give a positive time, or 0 for "
                    "never",
                    options.ageing.count())};
  return {};
}

coalescing_options countable(coalescing_options options) {
  constexpr std::chrono::nanoseconds year = std::chrono::hours(365 * 24);
  options.max_queue_delay = std::min(options.max_queue_delay, year);
  options.ageing = std::min(options.ageing, year);
  return options;
}

}  // namespace ganglion

#pragma once

#include "bench_result.hpp"
#include "bench_stability.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace ganglion::command {

/// One figure, measured in windows until they agreed.
struct measured_load {
  load_result load;                    ///< of the windows that count: the last ones, as many as are to agree
  double window_seconds = 0;           ///< what each was to last
  std::vector<double> figures;         ///< of all windows
  std::vector<std::int64_t> requests;  ///< sent in each of them
  bool agreed = false;
};

/// So many windows count.
inline constexpr std::size_t windows_that_count = stability_rule{}.agreeing;

/// Measures windows of so many seconds until the last three agree in their figure within 10 %, at most nine of them or
/// what takes as long as nine. A window that was cut short ends it. `run` is called with the number of the window.
measured_load measure_windows(double window_seconds, const std::function<load_result(std::size_t)>& run,
                              const std::function<double(const load_result&)>& figure);

}  // namespace ganglion::command

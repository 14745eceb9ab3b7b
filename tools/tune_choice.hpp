#pragma once

#include "chart.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ganglion::command {

/// What a model is like when it is compiled for so many rows and runs on so many cores of so many threads.
struct tune_point {
  std::int64_t batch = 0;
  std::size_t threads_per_core = 1;
  std::size_t cores = 1;
  std::string recipe;
  double rows_per_second = 0;  ///< offline, on all cores
  double p50 = 0;              ///< seconds, of one batch at a time
  double p99 = 0;
  bool agreed = true;  ///< whether the windows of both figures did
};

struct tune_choice {
  std::size_t fastest = 0;      ///< the point of the highest throughput
  std::size_t low_latency = 0;  ///< the smallest batch within 5 % of it; the same one where no smaller is
  /// One sentence with the figures, without a full stop.
  std::string reason;
};

/// `points` is not empty; `noun` is what to call a row.
tune_choice recommend(const std::vector<tune_point>& points, const std::string& noun);

/// Throughput and latency against the batch, side by side, with a line for each number of threads. Title and subtitle
/// are left empty.
chart tune_chart(const std::vector<tune_point>& points, const tune_choice& choice, const std::string& noun);

}  // namespace ganglion::command

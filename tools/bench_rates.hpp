#pragma once

#include "chart.hpp"

#include <optional>
#include <string>
#include <vector>

namespace ganglion::command {

/// Why a rate was measured.
enum class rate_purpose { given, search, confirmation, picture };

/// One rate of arrivals and what it was like, in seconds. Of a rate that was cut short the latencies are at least so.
struct tried_rate {
  double qps = 0;
  double p50 = 0;
  double p99 = 0;
  std::size_t requests = 0;
  bool held = false;  ///< its p99 kept the target; always true where there is none
  bool cut_short = false;
  rate_purpose purpose = rate_purpose::search;
};

/// `given`, `search`, `confirmation`, `picture`.
const char* purpose_name(rate_purpose purpose);

/// Latency against rate: p50 and p99 with a point for each rate (the last try of it), the target and the rate that was
/// found or given, where there are any. Title and subtitle are left empty.
chart rates_chart(const std::vector<tried_rate>& rates, std::optional<double> target, std::optional<double> chosen);

}  // namespace ganglion::command

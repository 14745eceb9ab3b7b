#pragma once

#include "bench_session.hpp"

#include <cstddef>

namespace ganglion::command {

/// One core against all of them.
struct scaling_result {
  std::size_t cores = 0;
  double one_rows_per_second = 0;
  double all_rows_per_second = 0;
  /// all / (cores * one): 1 where every core adds as much as the first has.
  double scaling = 0;
  /// Of the answers on all cores from those of the module run alone on the same rows.
  double largest_difference = 0;
};

/// Three rounds of one core and then all, offline; the medians of the rates and of the rounds' scalings.
scaling_result measure_scaling(const bench_session& session);

}  // namespace ganglion::command

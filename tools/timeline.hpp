#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ganglion::command {

/// One execution in a timeline; times in milliseconds.
struct timeline_bar {
  std::size_t lane = 0;
  double enqueued = 0;  ///< its oldest row was accepted
  double formed = 0;    ///< it was bound to its core
  double started = 0;   ///< forward began
  double computed = 0;  ///< forward returned
  double gathered = 0;  ///< its rows were in the answer
  std::int64_t rows = 0;
  std::int64_t padding_rows = 0;
  bool failed = false;
};

/// From `at` on, so many executions are accepted and not started.
struct depth_step {
  double at = 0;
  std::size_t waiting = 0;

  friend bool operator==(const depth_step&, const depth_step&) = default;
};

/// A stretch of a run, from 0 to `length` milliseconds.
struct timeline {
  std::string title;
  std::string subtitle;
  std::vector<std::string> lanes;
  double length = 0;
  /// In the order of `started`. Times may lie outside of [0, length]: what is drawn is what lies inside.
  std::vector<timeline_bar> bars;
  /// The first step is at 0.
  std::vector<depth_step> depth;
};

/// The stretch in the middle of a run in which about `most` executions ran: bars, depth and length, the rest empty.
/// `run` may be in any order.
timeline middle_of(std::vector<timeline_bar> run, std::size_t most);

struct interval {
  double begin = 0;
  double end = 0;
};

/// A row, and from where on an interval is drawn in it.
struct packed_interval {
  std::size_t row = 0;
  double begin = 0;

  friend bool operator==(const packed_interval&, const packed_interval&) = default;
};

/// Places for intervals in at most `most` rows (at least one), so that none overlaps another. Where they are too many,
/// each loses as much of its begin as needed; all ends are kept. `intervals` are in the order of their ends.
std::vector<packed_interval> packed(const std::vector<interval>& intervals, std::size_t most);

}  // namespace ganglion::command

#pragma once

#include "timeline.hpp"

#include <ganglion/engine/engine.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

namespace ganglion::command {

/// Keeps what an engine tells of its executions in the last windows of a measurement. Any thread.
class execution_recorder {
 public:
  void add(const execution_record& record);

  /// Begins a window: what is accepted from now on belongs to it. All but so many windows, the newest, are forgotten.
  void start(std::size_t windows_kept);

  /// What is accepted from now on belongs to no window, until the next one begins.
  void stop();

  struct counts {
    std::uint64_t executions = 0;
    std::uint64_t rows = 0;
    std::uint64_t padding_rows = 0;
  };
  /// Of all windows that are kept.
  counts totals() const;

  /// The executions as bars, one lane a core in the order of `cores`. Of a long window the first 16,384 are kept.
  std::vector<timeline_bar> bars(const std::vector<std::size_t>& cores) const;

 private:
  struct window {
    execution_record::time_point since;
    counts totals;
    std::vector<execution_record> records;
  };

  mutable std::mutex mutex_;
  std::deque<window> windows_;
  execution_record::time_point until_ = execution_record::time_point::max();
};

}  // namespace ganglion::command

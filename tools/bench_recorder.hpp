#pragma once

#include "timeline.hpp"

#include <ganglion/engine/engine.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace ganglion::command {

/// Keeps what an engine tells of its executions while it is asked to. Any thread.
class execution_recorder {
 public:
  void add(const execution_record& record);

  /// Forgets all, and listens to what is accepted from now on.
  void start();

  struct counts {
    std::uint64_t executions = 0;
    std::uint64_t rows = 0;
    std::uint64_t padding_rows = 0;
  };
  counts totals() const;

  /// The executions as bars, one lane a core in the order of `cores`. Of a long run the first 65,536 are kept.
  std::vector<timeline_bar> bars(const std::vector<std::size_t>& cores) const;

 private:
  mutable std::mutex mutex_;
  execution_record::time_point since_ = execution_record::time_point::max();
  counts totals_;
  std::vector<execution_record> records_;
};

}  // namespace ganglion::command

#pragma once

#include <cstddef>
#include <vector>

namespace ganglion {

/// A buffer that steps of a program share memory for, and when it is needed: from step `first` to step `last`,
/// both included.
struct arena_buffer {
  std::size_t bytes = 0;
  std::size_t first = 0;
  std::size_t last = 0;
};

struct arena_plan {
  std::vector<std::size_t> offsets;  ///< of each buffer, in bytes, aligned
  std::size_t bytes = 0;             ///< what all of them need together
};

/// Places buffers so that no two that are needed at the same step share a byte: the largest first, each in the
/// smallest gap that holds it.
arena_plan plan_arena(const std::vector<arena_buffer>& buffers, std::size_t alignment);

}  // namespace ganglion

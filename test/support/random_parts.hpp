#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace ganglion::test {

/// Between 1 and `most_parts` positive numbers of at most `most_rows` each.
inline std::vector<std::int64_t> random_parts(std::mt19937& random, unsigned most_parts, unsigned most_rows) {
  std::vector<std::int64_t> parts(1 + random() % most_parts);
  for (auto& rows : parts) rows = 1 + static_cast<std::int64_t>(random() % most_rows);
  return parts;
}

}  // namespace ganglion::test

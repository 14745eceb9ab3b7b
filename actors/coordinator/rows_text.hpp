#pragma once

#include <ganglion/actors/coordinator/gather.hpp>

#include <fmt/format.h>

#include <string>

namespace ganglion {

/// A slot's rows for a sentence: `row 3` or `rows 3 to 5`.
inline std::string rows_text(const slot& where) {
  auto first = where.first_row(), last = first + where.rows() - 1;
  return first == last ? fmt::format("row {}", first) : fmt::format("rows {} to {}", first, last);
}

}  // namespace ganglion

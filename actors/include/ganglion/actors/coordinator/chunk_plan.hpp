#pragma once

#include <ganglion/model_io/error.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace ganglion {

/// How a request's rows are cut into chunks: row ranges of `chunk_rows` each, the last one short. A pure value.
///
/// Invariants: the chunks partition [0, rows) in order; no chunk is empty; no execution holds more than `batch` rows;
/// without a split size there are exactly ceil(rows / batch) executions, the fewest possible (S12, S20 of
/// docs/semantics.md).
class chunk_plan {
 public:
  struct chunk {
    std::int64_t first_row;
    std::int64_t rows;
  };

  /// `batch` is the compiled batch size, `split_size` the rows a chunk where it was set. Both are positive.
  chunk_plan(std::int64_t rows, std::int64_t batch, std::optional<std::int64_t> split_size = {});

  std::int64_t rows() const { return rows_; }
  std::int64_t batch() const { return batch_; }
  std::int64_t chunk_rows() const { return chunk_rows_; }

  /// The number of chunks; 0 without rows.
  std::size_t size() const;
  chunk at(std::size_t index) const;
  /// The number of executions that all chunks need.
  std::size_t executions() const;

 private:
  std::int64_t rows_;
  std::int64_t batch_;
  std::int64_t chunk_rows_;
};

/// S13: with dynamic batching off, `input.shape[dim] / len(device_ids) == compilation_input.shape[dim]` must hold
/// exactly, without rounding, for one of the sizes that the model was compiled for. Returns that size. Errors:
/// `batch_size_mismatch` with the formula and the numbers.
expected<std::int64_t> check_compile_batch(std::int64_t rows, std::size_t device_count,
                                           const std::vector<std::int64_t>& compiled_sizes, std::int64_t dim);

}  // namespace ganglion

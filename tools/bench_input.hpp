#pragma once

#include "bench_options.hpp"

#include <ganglion/model_io/model.hpp>

#include <cstdint>
#include <vector>

namespace ganglion::command {

/// The rows that one execution of the model's largest program takes; of several sizes beside the batch, of the first.
/// Errors, thrown: those of `make_scatter_rule`.
std::int64_t compiled_rows(const compiled_model& model);

/// The number of that program.
std::size_t largest_program(const compiled_model& model);

/// The rows of the smallest request that the model takes on so many cores: one where dynamic batching is possible, else
/// the compiled batch on each core.
std::int64_t smallest_request(const compiled_model& model, std::size_t cores);

/// The rows of a request where none are given: two compiled batches a core for the throughput of `offline`, the
/// smallest request for the latencies of the others.
std::int64_t default_rows(const compiled_model& model, std::size_t cores, scenario kind);

/// Random leaves of forward's arguments with so many rows: floats in [0, 1), integers in the range of the example;
/// numbers and strings as in the example. The same seed gives the same values.
std::vector<c10::IValue> random_leaves(const compiled_model& model, std::int64_t rows, std::uint64_t seed);

/// The same leaves as arguments of forward.
std::vector<c10::IValue> random_arguments(const compiled_model& model, std::int64_t rows, std::uint64_t seed);

/// Counts the rows of answers. Any thread.
class row_counter {
 public:
  explicit row_counter(const compiled_model& model);

  /// The size of the answer's first tensor along dimension 0, for models whose answers have a row for each of the
  /// input's; nothing is known of others, whose answers count as `requested`.
  std::int64_t rows_in(const c10::IValue& answer, std::int64_t requested) const;

 private:
  bool row_for_row_;
};

/// What to call a row: `image` where the first input looks like images, else `row`.
const char* row_noun(const compiled_model& model);

}  // namespace ganglion::command

#pragma once

#include <pinned_loops.hpp>

#include <ganglion/model_io/model.hpp>

#include <cstdint>

namespace ganglion::benchmark {

/// Each thread, pinned to a CPU of its own, runs the first program of a model on its own part of `rows` random rows,
/// compiled batch by compiled batch, and copies what comes out into one output that all of them share. `rows` is the
/// same number of whole batches for each thread; the model takes and returns one tensor.
command::pinned_loops bare_parts(const compiled_model& model, std::int64_t rows, std::size_t threads);

}  // namespace ganglion::benchmark

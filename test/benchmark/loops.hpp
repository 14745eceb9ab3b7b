#pragma once

#include <ganglion/model_io/model.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace ganglion::benchmark {

/// Threads that do nothing but call something in a loop: what whoever divides work between threads is measured against.
class loops {
 public:
  /// Makes, on the thread itself, what that thread will call; a call returns the rows that it did.
  using make_call = std::function<std::function<std::int64_t()>()>;
  struct place {
    std::vector<int> cpus;
    std::size_t intra_op_threads = 1;
    make_call make;
  };

  /// Starts a thread a place, and returns when each has called twice. Errors, thrown: what the calls throw.
  explicit loops(std::vector<place> places);
  ~loops();
  loops(loops&&) noexcept;

  /// Lets all of them run at once for so long, and at least one call each. Returns the rows a second of all.
  double rows_per_second(double seconds);

 private:
  class loop;
  std::vector<std::unique_ptr<loop>> loops_;
};

/// Each thread, pinned to a CPU of its own, runs the first program of a model on its own part of `rows` random rows,
/// compiled batch by compiled batch, and copies what comes out into one output that all of them share. `rows` is the
/// same number of whole batches for each thread; the model takes and returns one tensor.
loops bare_loops(const compiled_model& model, std::int64_t rows, std::size_t threads);

}  // namespace ganglion::benchmark

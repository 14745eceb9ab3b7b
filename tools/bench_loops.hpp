#pragma once

#include <ganglion/model_io/model.hpp>

#include <cstddef>
#include <memory>
#include <vector>

namespace ganglion::command {

/// Where one bare loop runs.
struct loop_place {
  std::vector<int> cpus;
  std::size_t intra_op_threads = 1;
};

/// What a bare loop calls.
enum class loop_program {
  compiled,  ///< the model's own program, on a replica
  module,    ///< the module as it was traced, unchanged
  frozen,    ///< the module after torch::jit::freeze
};

/// What an engine is measured against: threads that do nothing but call a program at its compiled shape, each on a
/// replica of its own, with the lane's own set-up (CPUs, then intra-op threads) and without queue, scatter or gather.
class bare_loops {
 public:
  /// Starts a thread a place, and returns when each has warmed its replica. Errors, thrown: what the model throws.
  bare_loops(const compiled_model& model, const std::vector<loop_place>& places,
             loop_program what = loop_program::compiled);
  ~bare_loops();

  /// Lets all of them run at once for so long, and at least one forward each. Returns the rows a second of all.
  double rows_per_second(double seconds);

  /// The distinct places of weights over all replicas; of the model's own program alone.
  std::size_t distinct_weight_storages() const;

 private:
  class loop;
  std::vector<std::unique_ptr<loop>> loops_;
};

}  // namespace ganglion::command

#pragma once

#include "pinned_loops.hpp"

#include <ganglion/model_io/model.hpp>

#include <cstddef>
#include <memory>
#include <vector>

namespace ganglion::command {

/// What a bare loop calls.
enum class loop_program {
  compiled,  ///< the model's own program, on a replica
  module,    ///< the module as it was traced, unchanged
  frozen,    ///< the module after torch::jit::freeze
};

/// What an engine is measured against: loops over a program at its compiled shape, each on a replica of its own,
/// without queue, scatter or gather.
class bare_loops {
 public:
  /// Starts a thread a place, and returns when each has warmed its replica. Errors, thrown: what the model throws.
  bare_loops(const compiled_model& model, const std::vector<loop_place>& places,
             loop_program what = loop_program::compiled);

  /// Lets all of them run at once for so long, and at least one forward each. Returns the rows a second of all.
  double rows_per_second(double seconds) { return loops_.rows_per_second(seconds); }

  /// The distinct places of weights over all replicas; of the model's own program alone.
  std::size_t distinct_weight_storages() const;

 private:
  using storages = std::vector<const void*>;

  std::vector<std::shared_ptr<storages>> weights_;  // of each loop
  pinned_loops loops_;
};

}  // namespace ganglion::command

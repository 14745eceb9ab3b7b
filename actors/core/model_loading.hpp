#pragma once

#include <ganglion/actors/core/execution.hpp>
#include <ganglion/actors/core/warm_up.hpp>
#include <ganglion/model_io/replica.hpp>

#include <memory>
#include <optional>

namespace ganglion {

/// A replica with the buffers that go with it.
struct loaded_model {
  replica program;
  std::size_t weight_bytes;
  staging buffers;
};

/// A model on its way into a lane: making its replica is a step, and so is each run that warms one of its programs.
class loading {
 public:
  explicit loading(compiled_model model) : model_(std::move(model)) {}

  const compiled_model& model() const { return model_; }
  /// Returns whether there is more to do. Throws what LibTorch throws.
  bool step() {
    if (!made_) {
      made_ = std::make_unique<loaded_model>(loaded_model{model_.make_replica(), model_.weight_bytes(), {}});
    } else {
      if (runs_->step()) return true;
      found_.seconds.push_back(runs_->seconds());
      found_.places_are_alike = found_.places_are_alike && runs_->places_are_alike();
      runs_.reset();
    }
    if (found_.seconds.size() == model_.program_count()) return false;
    runs_.emplace(made_->program, found_.seconds.size());
    return true;
  }
  const warm_up& found() const { return found_; }
  std::unique_ptr<loaded_model> take() { return std::move(made_); }

 private:
  compiled_model model_;
  std::unique_ptr<loaded_model> made_;
  std::optional<warm_up_runs> runs_;  // of the program after those of `found_`
  warm_up found_{{}, true};
};

}  // namespace ganglion

#pragma once

#include "fused_plan.hpp"

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

namespace ganglion {

/// A plan as oneDNN primitives, in whatever layouts they like best, with one arena for all that lies between them.
/// oneDNN fixes the number of threads when a primitive is made: make it on the thread that will run it.
class fused_program {
 public:
  /// Throws `dnnl::error`, or std::runtime_error where oneDNN has only its slow reference for a step.
  explicit fused_program(std::shared_ptr<const fused_plan> plan);
  ~fused_program();

  /// Inputs and outputs have the plan's dtypes and sizes; the outputs are new tensors. One thread at a time.
  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs);

 private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace ganglion

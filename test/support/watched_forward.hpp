#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <functional>

namespace ganglion::test {

/// Looks into forwards: while an object lives, each forward of `watched` calls it with the input that it was given, on
/// the thread that runs it. One object at a time; it must not be destroyed while forwards run.
class forward_watch {
 public:
  using look = std::function<void(const at::Tensor& input)>;

  explicit forward_watch(look at_forward);
  ~forward_watch();
  forward_watch(const forward_watch&) = delete;
  forward_watch& operator=(const forward_watch&) = delete;
};

/// Returns the first element along the last of three dimensions, [a, b, c] -> [a, b, 1]: next to nothing for a large
/// input.
torch::jit::Module watched();

}  // namespace ganglion::test

#pragma once

#include <ATen/core/Tensor.h>
#include <dnnl.hpp>

#include <list>
#include <mutex>
#include <vector>

namespace ganglion {

/// The device that oneDNN computes on: this process's CPUs.
const dnnl::engine& onednn_cpu();

/// A constant of a program in whatever layouts its operations want it. All replicas and all programs of a model share
/// one of each layout; the tensor itself is kept only until there is one that others can be made from. Safe to use from
/// any thread.
class packable_weights {
 public:
  explicit packable_weights(at::Tensor plain) : plain_(plain.contiguous()) {}

  /// The constant in a layout, whose sizes may split a dimension (groups of a convolution). Throws `dnnl::error`.
  dnnl::memory in_layout(const dnnl::memory::desc& layout);

  /// Where all of its layouts are in memory.
  std::vector<const void*> places() const;
  std::size_t bytes() const;

 private:
  /// What a layout can be made from.
  dnnl::memory source_for(const dnnl::memory::desc& layout) const;

  mutable std::mutex mutex_;
  at::Tensor plain_;
  std::list<dnnl::memory> packed_;
};

/// The element type as oneDNN calls it. Throws where it has none.
dnnl::memory::data_type onednn_type(at::ScalarType dtype);

/// Sizes without gaps, the last dimension the innermost.
dnnl::memory::desc plain_layout(const dnnl::memory::dims& sizes, dnnl::memory::data_type type);

}  // namespace ganglion

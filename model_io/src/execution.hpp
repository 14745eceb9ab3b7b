#pragma once

#include <ganglion/model_io/model.hpp>

#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>

#include <set>

namespace ganglion {

/// A graph and executor of its own over a program's weights. It belongs to no compilation unit, so making one
/// changes nothing that other threads see, and it leaves nothing behind. Keeps a reference to the signature.
class execution {
 public:
  execution(const torch::jit::Module& program, const signature& sig, auto_cast cast);

  /// What the graph takes for the leaves of the arguments: the module, all arguments, those left to defaults too.
  /// `own`: nobody else looks at the leaves, so that forward may write to them.
  torch::jit::Stack stack_of(const std::vector<c10::IValue>& leaves, bool own = false) const;

  /// Runs forward in inference mode on the leaves of the arguments. Throws what LibTorch throws.
  c10::IValue run(const std::vector<c10::IValue>& leaves, bool own = false);

  /// See `replica::weight_storages`.
  std::set<const void*> weight_storages();

 private:
  std::vector<c10::IValue> prepared(std::vector<c10::IValue> leaves, bool own) const;
  c10::IValue with_compiled_dtypes(const c10::IValue& result) const;

  const signature& sig_;
  bool bf16_;
  c10::IValue self_;
  std::vector<c10::IValue> defaults_;
  torch::jit::GraphFunction function_;
};

/// Runs the source itself, likewise.
c10::IValue run_source(const torch::jit::Module& source, const signature& sig,
                       const std::vector<c10::IValue>& leaves);

}  // namespace ganglion

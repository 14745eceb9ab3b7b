#include "kept.hpp"

#include "lifetime.hpp"

#include <ATen/ops/from_blob.h>
#include <Python.h>

#include <mutex>
#include <vector>

namespace ganglion::python {

namespace {

/// What the engine has given back and Python has not yet let go of. Threads of the engine put in, and never
/// wait for the GIL.
class shelf {
 public:
  void put(at::Tensor tensor) noexcept {
    const std::lock_guard lock(mutex_);
    bytes_ += tensor.nbytes();
    tensors_.push_back(std::move(tensor));
    if (closed_ || asked_ || bytes_ < worth_asking) return;
    asked_ = Py_AddPendingCall(
                 [](void*) {
                   release_kept();
                   return 0;
                 },
                 nullptr) == 0;
  }

  std::vector<at::Tensor> take() {
    const std::lock_guard lock(mutex_);
    asked_ = false;
    bytes_ = 0;
    return closed_ ? std::vector<at::Tensor>{} : std::exchange(tensors_, {});
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }

 private:
  /// Small things wait for the next call; for large ones the interpreter is asked to come by.
  static constexpr std::size_t worth_asking = std::size_t{1} << 20;

  std::mutex mutex_;
  std::vector<at::Tensor> tensors_;
  std::size_t bytes_ = 0;
  bool asked_ = false;
  bool closed_ = false;
};

shelf& the_shelf() {
  static auto* const only = new shelf;
  return *only;
}

}  // namespace

at::Tensor lent(const at::Tensor& tensor) {
  // What is no plain memory is refused by the engine, and read by nobody.
  if (!tensor.defined() || !tensor.device().is_cpu() || tensor.layout() != at::kStrided || tensor.is_quantized())
    return tensor;
  const auto plain = tensor.is_conj() || tensor.is_neg() ? tensor.detach().resolve_conj().resolve_neg() : tensor;
  return at::from_blob(
      plain.data_ptr(), plain.sizes(), plain.strides(),
      [held = plain](void*) mutable { the_shelf().put(std::move(held)); },
      at::TensorOptions().dtype(plain.scalar_type()));
}

void release_kept() {
  if (!must_leak()) the_shelf().take();  // in a forked child a thread that is not there may have the lock
}

void leak_kept() { the_shelf().close(); }

}  // namespace ganglion::python

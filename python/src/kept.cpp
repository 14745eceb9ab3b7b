#include "kept.hpp"

#include "completions.hpp"
#include "errors.hpp"
#include "lifetime.hpp"

#include <ganglion/model_io/tensor_spec.hpp>

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <fmt/ranges.h>

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
    asked_ = true;
    completions::process_wide().release_soon();
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
  /// Small things wait for the next call; for large ones the thread that tells futures is woken.
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

/// The tensor with its values in memory as they are to be read.
at::Tensor plain(const at::Tensor& tensor, std::string_view where) {
  if (tensor._is_zerotensor()) return at::zeros(tensor.sizes(), tensor.options());
  const auto result = tensor.is_conj() || tensor.is_neg() ? tensor.detach().resolve_conj().resolve_neg() : tensor;
  if (!has_its_values(result))
    refuse_type(
        fmt::format("{} is a tensor [{}] whose values are not in its memory (a subclass that computes them, or "
                    "its storage was resized): give a plain tensor",
                    where, fmt::join(result.sizes(), ", ")));
  return result;
}

}  // namespace

at::Tensor lent(const at::Tensor& tensor, std::string_view where) {
  if (tensor.defined() && tensor.is_nested())
    refuse_type(fmt::format("{} is a nested tensor: give plain tensors, one for each size", where));
  // What is no plain memory is refused by the engine, and read by nobody.
  if (!tensor.defined() || !tensor.device().is_cpu() || tensor.layout() != at::kStrided || tensor.is_quantized())
    return tensor;
  const auto own = plain(tensor, where);
  return at::from_blob(
      own.data_ptr(), own.sizes(), own.strides(), [held = own](void*) mutable { the_shelf().put(std::move(held)); },
      at::TensorOptions().dtype(own.scalar_type()));
}

void release_kept() {
  if (!must_leak()) the_shelf().take();  // in a forked child a thread that is not there may have the lock
}

void leak_kept() { the_shelf().close(); }

}  // namespace ganglion::python

#include "module_view.hpp"

#include <map>

namespace ganglion::python {

namespace {

using tensor_map = std::map<const c10::TensorImpl*, at::Tensor>;

/// Tensors that were one stay one.
void replace_tensors(const torch::jit::Module& module, tensor_map& replaced) {
  const auto object = module._ivalue();
  for (std::size_t slot = 0; slot < module.type()->numAttributes(); ++slot) {
    const auto value = object->getSlot(slot);
    if (value.isModule()) {
      replace_tensors(torch::jit::Module(value.toObject()), replaced);
    } else if (value.isTensor() && value.toTensor().defined()) {
      const auto& tensor = value.toTensor();
      auto& own = replaced[tensor.unsafeGetTensorImpl()];
      if (!own.defined()) own = tensor.variable_data();
      object->setSlot(slot, own);
    }
  }
}

}  // namespace

torch::jit::Module view_of(const torch::jit::Module& module) {
  auto view = module.clone(/*inplace=*/true);
  tensor_map replaced;
  replace_tensors(view, replaced);
  return view;
}

}  // namespace ganglion::python

// A stand-in for the operator library of torch-neuron: opened, it registers an operator in its namespace.
#include <torch/library.h>

#include <ATen/ops/mul.h>

TORCH_LIBRARY(neuron, library) {
  library.def("forward_v2(Tensor x) -> Tensor", [](const at::Tensor& x) { return at::mul(x, 2); });
}

// A stand-in for the operator library of torch-neuron: opened, it registers an operator in its namespace.
// Beside it are operators that only bear tensors with the last dimension the innermost: a program with channels last
// crashes on one, and hangs on the other.
#include <torch/library.h>

#include <ATen/ops/mul.h>

#include <csignal>
#include <unistd.h>

TORCH_LIBRARY(neuron, library) {
  library.def("forward_v2(Tensor x) -> Tensor", [](const at::Tensor& x) { return at::mul(x, 2); });
  library.def("crashes(Tensor x) -> Tensor", [](const at::Tensor& x) {
    if (!x.is_contiguous()) raise(SIGSEGV);
    return at::mul(x, 2);
  });
  library.def("hangs(Tensor x) -> Tensor", [](const at::Tensor& x) {
    while (!x.is_contiguous()) pause();
    return at::mul(x, 2);
  });
}

#include "example.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace example {

at::Tensor answer_alone(const torch::jit::Module& module, const at::Tensor& input) {
  c10::InferenceMode guard;
  torch::jit::Module copy = module;
  copy.eval();
  return copy.forward({input}).toTensor();
}

bool report_difference(const at::Tensor& answer, const at::Tensor& wanted) {
  if (answer.sizes() != wanted.sizes()) {
    fmt::print("the answer's shape is not that of the module run alone\n");
    return false;
  }
  c10::InferenceMode guard;
  const auto largest = (answer - wanted).abs().max().item<float>();
  const auto tolerance = 1e-4F * std::max(1.0F, wanted.abs().max().item<float>());
  const bool equal = largest <= tolerance;  // false for NaN too
  fmt::print("the answers {} those of the module run alone: largest difference {:.1e}, tolerance {:.1e}\n",
             equal ? "equal" : "DIFFER from", largest, tolerance);
  return equal;
}

int run(std::string_view name, const std::function<int()>& body) {
  try {
    return body();
  } catch (const ganglion::error& e) {
    fmt::print(stderr, "{}: error[{}]: {}\n", name, ganglion::to_string(e.failure().code), e.what());
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}: error: {}\n", name, e.what());
  }
  return 1;
}

const char* model_argument(std::string_view name, int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: {} MODEL.pt\n  MODEL.pt: a TorchScript file that takes f32[N,3,224,224], "
               "such as scripts/make-resnet50 writes\n", name);
    std::exit(2);
  }
  return argv[1];
}

}  // namespace example

#pragma once

#include <ganglion/engine/data_parallel.hpp>
#include <ganglion/model_io/model.hpp>

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>

#include <functional>
#include <string_view>

/// What the examples share: the module run alone to compare with, and how they end.
namespace example {

/// What the module itself answers for the whole input, on this thread and without Ganglion.
at::Tensor answer_alone(const torch::jit::Module& module, const at::Tensor& input);

/// Prints the largest difference between Ganglion's answer and the expected one. True where it is what the
/// order of floating-point sums explains: at most 1e-4 of the largest expected value (or of 1), at the same
/// shape.
bool report_difference(const at::Tensor& answer, const at::Tensor& wanted);

/// Runs the body and returns its exit status. Of an error it prints one line on stderr and returns 1.
int run(std::string_view name, const std::function<int()>& body);

/// The path of the TorchScript file on the command line. Without one it prints how the program is called and
/// exits with 2.
const char* model_argument(std::string_view name, int argc, char** argv);

}  // namespace example

// Data parallel along another dimension than 0: four cores and dim = 2. Dynamic batching needs dim 0, so here
// it is off, which a warning says, and the input's size along dim must be exactly four times the compiled
// one.
#include "example.hpp"

#include <fmt/format.h>

#include <vector>

namespace {

// The example model: a convolution, and one added to it.
torch::jit::Module conv_plus_one() {
  torch::jit::Module module("conv_plus_one");
  module.register_parameter("weight", at::randn({3, 3, 3, 3}), false);
  module.register_parameter("bias", at::randn({3}), false);
  module.define(R"(
    def forward(self, x):
        return torch.conv2d(x, self.weight, self.bias) + 1
  )");
  module.eval();
  return module;
}

}  // namespace

int main() {
  return example::run("dim_not_zero", [] {
    const auto module = conv_plus_one();
    const auto image = at::rand({1, 3, 8, 8});
    const auto model = ganglion::trace(module, {image});

    // Left alone, a host has as many cores as CPUs. This example names four, so it asks for as many, and runs
    // on smaller machines too.
    ganglion::engine_options host;
    host.host_cores = 4;
    ganglion::engine engine(host);

    ganglion::data_parallel_options options;
    options.device_ids = {0, 1, 2, 3};
    options.dim = 2;
    ganglion::data_parallel parallel(engine, model, options);
    for (const auto& warning : parallel.warnings())
      fmt::print("warning: {}\n", warning);

    // images.size(dim) / device_ids.size() == image.size(dim)
    const auto images = at::rand({1, 3, 4 * 8, 8});
    const auto output = parallel({images}).toTensor();
    fmt::print("dim != 0: 32 rows along dim 2 over 4 cores, compiled for 8: {} rows of answer\n",
               output.size(2));

    // Each core sees its 8 rows only, so what to compare with is the module run alone on each quarter.
    std::vector<at::Tensor> quarters;
    for (const auto& quarter : images.chunk(4, 2))
      quarters.push_back(example::answer_alone(module, quarter));
    const bool equal = example::report_difference(output, at::cat(quarters, 2));
    return equal && !parallel.dynamic_batching() && !parallel.warnings().empty() ? 0 : 1;
  });
}

// Default usage of data_parallel: the model is replicated on every NeuronCore that this process sees, and the
// inputs are split on dimension 0.
#include "example.hpp"

#include <fmt/format.h>

int main(int argc, char** argv) {
  const char* path = example::model_argument("default_usage", argc, argv);
  return example::run("default_usage", [&] {
    // Load the model and compile it with an example input.
    const auto module = ganglion::load_module(path);
    const auto image = at::rand({1, 3, 224, 224});
    const auto model = ganglion::trace(module, {image});

    // Without an engine of its own it runs on the process's default one.
    ganglion::data_parallel parallel(model);

    // Run inference with a batch of five images: five times the compiled batch size.
    const auto images = at::rand({5, 3, 224, 224});
    const auto output = parallel({images}).toTensor();

    fmt::print("default usage: 5 images, compiled for 1, over every visible core: an answer of {} x {}\n",
               output.size(0), output.size(1));
    return example::report_difference(output, example::answer_alone(module, images)) ? 0 : 1;
  });
}

// Specifying NeuronCores: `device_ids` says which of the visible cores to use, here the first three.
#include "example.hpp"

#include <fmt/format.h>

int main(int argc, char** argv) {
  const char* path = example::model_argument("specifying_cores", argc, argv);
  return example::run("specifying_cores", [&] {
    const auto module = ganglion::load_module(path);
    const auto image = at::rand({1, 3, 224, 224});
    const auto model = ganglion::trace(module, {image});

    // Left alone, a host has as many cores as CPUs. This example names three of them, so it asks for the four
    // of one Inferentia chip, and runs on smaller machines too.
    ganglion::engine_options host;
    host.host_cores = 4;
    ganglion::engine engine(host);

    // The same as options.device_ids = {0, 1, 2}.
    ganglion::data_parallel_options options;
    options.device_ids = {"nc:0", "nc:1", "nc:2"};
    ganglion::data_parallel parallel(engine, model, options);

    const auto images = at::rand({5, 3, 224, 224});
    const auto output = parallel({images}).toTensor();

    fmt::print("specifying cores: 5 images over nc:0, nc:1 and nc:2 of {} visible cores\n",
               engine.core_count());
    return example::report_difference(output, example::answer_alone(module, images)) ? 0 : 1;
  });
}

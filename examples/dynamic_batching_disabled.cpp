// Dynamic batching disabled: a batch size that does not work then, and one that does.
#include "example.hpp"

#include <fmt/format.h>

int main(int argc, char** argv) {
  const char* path = example::model_argument("dynamic_batching_disabled", argc, argv);
  return example::run("dynamic_batching_disabled", [&] {
    const auto module = ganglion::load_module(path);
    const auto image = at::rand({1, 3, 224, 224});
    const auto model = ganglion::trace(module, {image});

    // Left alone, a host has as many cores as CPUs. This example names four, so it asks for as many, and runs
    // on smaller machines too.
    ganglion::engine_options host;
    host.host_cores = 4;
    ganglion::engine engine(host);

    ganglion::data_parallel_options options;
    options.device_ids = {0, 1, 2, 3};
    ganglion::data_parallel parallel(engine, model, options);
    parallel.disable_dynamic_batching();

    // This does not work: 8 images over 4 cores are 2 a core, and the model was compiled for 1.
    try {
      parallel({at::rand({8, 3, 224, 224})});
      fmt::print("dynamic batching disabled: a batch of 8 was NOT refused\n");
      return 1;
    } catch (const ganglion::error& e) {
      if (e.code() != ganglion::errc::batch_size_mismatch)
        throw;
      fmt::print("dynamic batching disabled: a batch of 8 is refused: {}\n", e.what());
    }

    // This works: images.size(dim) / device_ids.size() == image.size(dim)
    const auto images = at::rand({4, 3, 224, 224});
    const auto output = parallel({images}).toTensor();
    fmt::print("dynamic batching disabled: a batch of 4 is accepted; ");
    return example::report_difference(output, example::answer_alone(module, images)) ? 0 : 1;
  });
}

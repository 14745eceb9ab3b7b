// Dynamic batching: inference with several batch sizes on one compiled model, without compiling it again.
#include "example.hpp"

#include <fmt/format.h>

int main(int argc, char** argv) {
  const char* path = example::model_argument("dynamic_batching", argc, argv);
  return example::run("dynamic_batching", [&] {
    const auto module = ganglion::load_module(path);
    const auto image = at::rand({1, 3, 224, 224});
    const auto model = ganglion::trace(module, {image});

    ganglion::data_parallel parallel(model);

    bool equal = true;
    for (const std::int64_t batch_size : {2, 3, 4, 5, 6}) {
      const auto images = at::rand({batch_size, 3, 224, 224});
      const auto output = parallel({images}).toTensor();
      fmt::print("dynamic batching: {} images on a model compiled for 1; ", batch_size);
      equal = example::report_difference(output, example::answer_alone(module, images)) && equal;
    }
    return equal ? 0 : 1;
  });
}

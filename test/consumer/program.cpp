// What a project outside of this one writes: a module, compiled, run data-parallel, and compared with itself alone.
#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>

#include <cstdio>

int main() try {
  torch::jit::Module module("twice_plus_one");
  module.define("def forward(self, x):\n    return x * 2 + 1\n");
  module.eval();
  const auto model = ganglion::trace(module, {at::rand({4, 3})});

  // By position too: the order of the first options is as fixed as their names.
  ganglion::engine engine(ganglion::engine_options{2, 1, true, {}, [](ganglion::log_level, std::string_view) {}});
  ganglion::data_parallel parallel(engine, model, ganglion::data_parallel_options{{}, 0, true, {}, {}});

  const auto input = at::rand({10, 3});
  const auto answer = parallel({input}).toTensor();
  const bool right = at::equal(answer, input * 2 + 1);
  std::printf("10 rows on %zu cores, compiled for 4: %s\n", engine.core_count(), right ? "right" : "WRONG");
  return right ? 0 : 1;
} catch (const ganglion::error& e) {
  std::fprintf(stderr, "error[%s]: %s\n", ganglion::to_string(e.failure().code).data(), e.what());
  return 1;
}

// Writes an artifact, and a plain TorchScript file, whose code calls a neuron:: operator. It is a program of
// its own because operators stay registered in the process that opened their library.
#include <ganglion/model_io/model.hpp>

#include <ATen/ATen.h>
#include <torch/csrc/jit/ir/irparser.h>
#include <torch/csrc/jit/api/module.h>

#include <dlfcn.h>
#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 4 || !dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL)) {
    std::cerr << "usage: neuron_writer OPERATORS.so ARTIFACT.pt PLAIN.pt\n";
    return 2;
  }
  torch::jit::Module module{"Net"};
  auto graph = std::make_shared<torch::jit::Graph>();
  torch::jit::parseIR("graph(%self, %x : Tensor):\n  %y : Tensor = neuron::forward_v2(%x)\n  return (%y)\n",
                      graph.get());
  graph->inputs()[0]->setType(module.type());
  const auto name = c10::QualifiedName{*module.type()->name(), "forward"};
  module.type()->addMethod(module._ivalue()->compilation_unit()->create_function(name, graph));
  ganglion::save(ganglion::trace(module, {at::ones({2, 3})}), argv[2]);
  module.save(argv[3]);
} catch (const std::exception& e) {
  std::cerr << e.what() << '\n';
  return 1;
}

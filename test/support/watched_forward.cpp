#include <support/watched_forward.hpp>

#include <ATen/ATen.h>
#include <torch/csrc/jit/ir/irparser.h>
#include <torch/library.h>

#include <atomic>

namespace ganglion::test {

namespace {

std::atomic<const forward_watch::look*> watching{nullptr};

at::Tensor look_at(const at::Tensor& x) {
  if (const auto* look = watching.load()) (*look)(x);
  return x.narrow(-1, 0, 1).clone();
}

TORCH_LIBRARY(ganglion_test_watch, library) { library.def("look_at(Tensor x) -> Tensor", look_at); }

}  // namespace

forward_watch::forward_watch(look at_forward) { watching = new look(std::move(at_forward)); }

forward_watch::~forward_watch() { delete watching.exchange(nullptr); }

torch::jit::Module watched() {
  // The operator has no name in what `define` reads.
  torch::jit::Module module{"Net"};
  auto graph = std::make_shared<torch::jit::Graph>();
  torch::jit::parseIR(R"(
graph(%self, %x : Tensor):
  %y : Tensor = ganglion_test_watch::look_at(%x)
  return (%y)
)",
                      graph.get());
  graph->inputs()[0]->setType(module.type());
  const auto name = c10::QualifiedName{*module.type()->name(), "forward"};
  module.type()->addMethod(module._ivalue()->compilation_unit()->create_function(name, graph));
  return module;
}

}  // namespace ganglion::test

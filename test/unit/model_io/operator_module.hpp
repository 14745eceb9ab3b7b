#pragma once

#include <fmt/format.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/irparser.h>

/// A module whose forward(x) is one call of an operator of a test's own, `name_space::name(Tensor) -> Tensor`.
inline torch::jit::Module operator_module(const std::string& name) {
  torch::jit::Module module{"Net"};
  auto graph = std::make_shared<torch::jit::Graph>();
  torch::jit::parseIR(fmt::format("graph(%self, %x : Tensor):\n  %y : Tensor = {}(%x)\n  return (%y)\n", name),
                      graph.get());
  graph->inputs()[0]->setType(module.type());
  const auto forward = c10::QualifiedName{*module.type()->name(), "forward"};
  module.type()->addMethod(module._ivalue()->compilation_unit()->create_function(forward, graph));
  return module;
}

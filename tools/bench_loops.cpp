#include "bench_loops.hpp"

#include "bench_input.hpp"

#include <ganglion/model_io/replica.hpp>

#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/api/module.h>

#include <set>

namespace ganglion::command {

namespace {

pinned_loops::work replica_work(const compiled_model& model, std::vector<const void*>& weights) {
  const auto number = largest_program(model);
  auto program = std::make_shared<replica>(model.make_replica());
  program->warm_up(number);
  weights = program->weight_storages();
  return [=, leaves = random_leaves(model, compiled_rows(model), 1), rows = compiled_rows(model)] {
    program->run(leaves, number);
    return rows;
  };
}

pinned_loops::work module_work(const compiled_model& model, bool frozen) {
  auto module = frozen ? torch::jit::freeze(model.source()) : model.source();
  auto call = [module, arguments = random_arguments(model, compiled_rows(model), 1),
               rows = compiled_rows(model)]() mutable {
    const c10::InferenceMode guard;
    module.forward(arguments);
    return rows;
  };
  // As often as a replica's warm-up: the executor profiles the first run and compiles in the second.
  for (int i = 0; i < 4; ++i) call();
  return call;
}

}  // namespace

bare_loops::bare_loops(const compiled_model& model, const std::vector<loop_place>& places, loop_program what)
    : loops_([&] {
        std::vector<pinned_loops::loop_start> starts;
        for (const auto& place : places) {
          weights_.push_back(std::make_shared<storages>());
          starts.push_back({place, [model, what, weights = weights_.back()] {
                              return what == loop_program::compiled ? replica_work(model, *weights)
                                                                    : module_work(model, what == loop_program::frozen);
                            }});
        }
        return starts;
      }()) {}

std::size_t bare_loops::distinct_weight_storages() const {
  std::set<const void*> distinct;
  for (const auto& each : weights_) distinct.insert(each->begin(), each->end());
  return distinct.size();
}

}  // namespace ganglion::command

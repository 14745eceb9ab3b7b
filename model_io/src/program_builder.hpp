#pragma once

#include "fused/fused_graph.hpp"

#include <ganglion/model_io/model.hpp>

#include <torch/csrc/jit/api/module.h>

#include <map>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace ganglion {

/// Whether it is the name of a program that is made with this cast: a kind, of `tuned_programs`, and `+bf16`.
bool is_recipe(std::string_view recipe, auto_cast cast);
/// The name of the program of a kind.
std::string recipe_of(std::string_view kind, auto_cast cast);
/// The kind of the program of that name.
std::string_view kind_of(std::string_view recipe);

/// Makes the modules that programs run, so that the programs of a model share its weights. One thread at a time.
class program_builder {
 public:
  /// `stop` ends the work with the programs, see `interrupted`.
  program_builder(torch::jit::Module source, auto_cast cast, std::stop_token stop = {})
      : source_(std::move(source)), cast_(cast), stop_(std::move(stop)) {}

  const torch::jit::Module& source() const { return source_; }
  auto_cast cast() const { return cast_; }
  const std::stop_token& stop() const { return stop_; }
  /// The module of a kind for an exact shape:
  /// - `as_is`: the source, its weights cast;
  /// - `frozen`: with its weights as constants of the graph, and what depends on them alone computed;
  /// - `optimized`: LibTorch's `optimize_for_inference` of that;
  /// - `channels_last`: frozen, with convolutions over images whose channels are the innermost dimension;
  /// - `onednn`: frozen, with runs of operators as fused oneDNN primitives over prepacked weights;
  /// - `winograd`: the same, with convolutions of 3 times 3 by Winograd's method.
  /// Throws std::runtime_error where a kind would be no other than `frozen`, and what LibTorch and oneDNN throw.
  torch::jit::Module module(std::string_view kind, const signature& sig);

 private:
  torch::jit::Module made(std::string_view kind, const signature& sig);
  torch::jit::Module fused(const signature& sig, bool winograd);

  torch::jit::Module source_;
  auto_cast cast_;
  std::stop_token stop_;
  // Apart: a program keeps no layouts of one that was not chosen.
  weights_by_tensor weights_, winograd_weights_;
  /// Those that do for every shape.
  std::map<std::string, torch::jit::Module, std::less<>> made_;
};

}  // namespace ganglion

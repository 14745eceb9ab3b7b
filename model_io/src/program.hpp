#pragma once

#include <ganglion/model_io/model.hpp>

#include <torch/csrc/jit/api/module.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ganglion {

/// A program that may be run in the source's place.
struct program {
  torch::jit::Module module;
  /// How it was made: `optimized`, `frozen` or `as_is`, and `+bf16`.
  std::string recipe;
  /// What was tried, with seconds and deviations, as JSON.
  std::string measurements = "{}";
  std::vector<std::string> warnings;
};

/// Makes the modules that programs run. Each is made once and does for every shape, so that the programs of a model
/// share its weights. One thread at a time.
class program_builder {
 public:
  program_builder(torch::jit::Module source, auto_cast cast) : source_(std::move(source)), cast_(cast) {}

  const torch::jit::Module& source() const { return source_; }
  auto_cast cast() const { return cast_; }
  /// The module of a kind: `optimized`, `frozen` or `as_is`. Throws what LibTorch throws.
  const torch::jit::Module& module(std::string_view kind);

 private:
  torch::jit::Module source_;
  auto_cast cast_;
  std::map<std::string, torch::jit::Module, std::less<>> made_;
};

struct program_request {
  program_builder& builder;
  const signature& sig;
  /// Inputs at hand beside those that are made for the comparison; empty where there are none.
  std::vector<c10::IValue> example_leaves;
};

/// Builds the programs and takes the fastest that is right, or without `tune` the frozen one. Where none is
/// right the source itself is the program. Errors: `unsupported_model` where bf16 is too coarse for the
/// model.
expected<program> choose_program(const program_request& request, bool tune);

/// Whether it is the name of a program that is made with this cast.
bool is_recipe(std::string_view recipe, auto_cast cast);

/// Builds the program of a recipe and checks it anew; falls back to simpler ones with a warning. An empty
/// recipe stands for the best that is right. Errors: as above.
expected<program> rebuild_program(const program_request& request, const std::string& recipe);

}  // namespace ganglion

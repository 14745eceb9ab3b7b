#pragma once

#include "program_builder.hpp"

#include <ganglion/model_io/model.hpp>

#include <torch/csrc/jit/api/module.h>

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ganglion {

/// A program that may be run in the source's place.
struct program {
  torch::jit::Module module;
  /// How it was made: its kind, and `+bf16`. See `program_builder::module`.
  std::string recipe;
  /// What was tried, with seconds and deviations, as JSON.
  std::string measurements = "{}";
  std::vector<std::string> warnings;
};

/// How programs are compared.
struct tuning {
  /// Intra-op threads.
  std::size_t threads = 1;
  /// The largest relative L2 deviation of a program in bf16.
  double max_deviation = default_max_deviation;
  /// Kinds that are not to be tried, with the reason.
  std::map<std::string, std::string> excluded;
  /// `trace_options::progress`
  std::function<void(std::string_view kind)> progress;

  void goes_on_with(std::string_view kind) const {
    if (progress) progress(kind);
  }
};

struct program_request {
  program_builder& builder;
  const signature& sig;
  /// The example's leaves and further ones for the comparison, beside those that are made; may be empty.
  std::vector<std::vector<c10::IValue>> given;
  tuning how;
};

/// The kinds that were excluded in `measurements`, with the reasons.
std::map<std::string, std::string> excluded_in(const std::string& measurements);

/// Builds the programs and takes the fastest that is right. Where none is right the source itself is the program.
/// Errors: `unsupported_model` where bf16 is too coarse for the model.
expected<program> fastest_program(const program_request& request);

/// Likewise without measuring: the frozen one where it is right.
expected<program> safe_program(const program_request& request);

/// Builds the program of a recipe and checks it anew; falls back to simpler ones with a warning. An empty
/// recipe stands for the best that is right. Errors: as above.
expected<program> rebuild_program(const program_request& request, const std::string& recipe);

}  // namespace ganglion

#pragma once

#include "examples.hpp"

#include <ganglion/model_io/model.hpp>

#include <torch/csrc/jit/api/module.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ganglion::command {

/// How a model is to be compiled, where its user says so.
struct tune_settings {
  std::optional<auto_cast> cast;
  std::optional<double> max_deviation;
  std::vector<std::string> calibration;  ///< files
};

/// A model that is compiled for one batch size after the other.
class tune_subject {
 public:
  /// A TorchScript file with the specs of its arguments; or without them a compiled model, which says what it takes,
  /// and what `settings` leave open. Errors, thrown: those of `load_module`, `load` and `read_tensor_file`.
  tune_subject(const std::filesystem::path& model, const load_options& loading, const specs& arguments,
               const tune_settings& settings);

  /// Tries, for the smallest and the largest of the batches and the largest number of threads, which programs cannot be
  /// tried in this process: see `run_trace`.
  void try_programs(const std::set<std::int64_t>& batches, std::int64_t threads,
                    const std::function<void(std::string_view)>& tell);

  /// In memory. Errors, thrown: those of `trace`, with the batch in the sentence.
  compiled_model compile(std::int64_t batch, std::size_t threads) const;

 private:
  std::filesystem::path path_;
  load_options loading_;
  specs arguments_;  ///< empty where no specs can say what the model takes
  std::vector<std::string> calibration_;
  torch::jit::Module module_;
  trace_options options_;
  std::function<std::vector<c10::IValue>(std::int64_t rows)> example_;
};

}  // namespace ganglion::command

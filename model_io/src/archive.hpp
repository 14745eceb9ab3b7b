#pragma once

#include <ganglion/model_io/model.hpp>

#include <torch/csrc/jit/api/module.h>

#include <optional>
#include <string>

namespace ganglion {

/// The extra file of an artifact that says how it was made.
inline constexpr const char* manifest_file = "ganglion_manifest.json";

/// What a TorchScript file holds: the module, in eval mode, and Ganglion's manifest where there is one.
struct archive {
  torch::jit::Module module;
  std::optional<std::string> manifest;
};

/// Reads a TorchScript file after opening the operator libraries. Throws `error` with `model_load_failed` and
/// a sentence that says what the file is instead.
archive read_archive(const std::filesystem::path& path, const load_options& options);

/// `model_load_failed` for a file, whose name begins the sentence, or for what else `subject` names.
error load_error(const std::string& subject, const std::string& what);
error load_error(const std::filesystem::path& path, const std::string& what);

}  // namespace ganglion

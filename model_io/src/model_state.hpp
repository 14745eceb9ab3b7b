#pragma once

#include "program.hpp"

#include <ganglion/model_io/model.hpp>

#include <optional>

namespace ganglion {

/// A program and what it was compiled for.
struct compiled_program {
  ganglion::signature signature;
  ganglion::program program;
};

/// How the programs of a model came to be.
struct program_policy {
  auto_cast cast = auto_cast::none;
  double max_deviation = default_max_deviation;
  std::optional<tuned_for> tuned;
};

struct compiled_model::state {
  std::uint64_t id = 0;
  /// In eval mode, in a compilation unit of its own; it carries the signatures as an attribute.
  torch::jit::Module source;
  std::vector<compiled_program> programs;
  program_policy policy;
  /// Those that hold wherever the model is loaded, and all of them.
  std::vector<std::string> stored_warnings, warnings;
  std::string content_hash;
  std::size_t weight_bytes = 0;
};

/// The attribute of an artifact's module that holds the signatures and the cast: all that must survive where the module
/// is loaded and saved by plain TorchScript.
inline constexpr const char* signature_attribute = "ganglion_signature";
/// The one that holds the manifest, so that it outlives `torch.jit.save` and `load`, which keep no extra files.
inline constexpr const char* manifest_attribute = "ganglion_manifest";

/// Puts a model together. The source gets signatures and manifest as attributes, so it must be the caller's own.
/// `warnings` go with the model where it is saved, those of this machine (`here`) do not.
std::shared_ptr<const compiled_model::state> assemble(torch::jit::Module source, program_policy policy,
                                                      std::vector<compiled_program> programs,
                                                      std::vector<std::string> warnings,
                                                      const std::vector<std::string>& here = {});

/// The hash of weights, code and the signatures' attribute, in hex. It does not depend on how values are named or
/// constants placed in the code, so it outlives saving and loading.
std::string content_hash(const torch::jit::Module& source, const std::string& signature_text);

}  // namespace ganglion

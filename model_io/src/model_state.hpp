#pragma once

#include "program.hpp"

#include <ganglion/model_io/model.hpp>

namespace ganglion {

struct compiled_model::state {
  std::uint64_t id = 0;
  /// In eval mode, in a compilation unit of its own; it carries the signature as an attribute.
  torch::jit::Module source;
  torch::jit::Module program;
  std::string recipe;
  ganglion::auto_cast cast = ganglion::auto_cast::none;
  ganglion::signature signature;
  std::vector<std::string> warnings;
  std::string measurements;
  std::string content_hash;
  std::size_t weight_bytes = 0;
};

/// The attribute of an artifact's module that holds the signature and the cast: all that must survive where the module
/// is loaded and saved by plain TorchScript.
inline constexpr const char* signature_attribute = "ganglion_signature";
/// The one that holds the manifest, so that it outlives `torch.jit.save` and `load`, which keep no extra files.
inline constexpr const char* manifest_attribute = "ganglion_manifest";

/// Puts a model together. The source gets signature and manifest as attributes, so it must be the caller's own.
std::shared_ptr<const compiled_model::state> assemble(torch::jit::Module source, signature sig,
                                                      auto_cast cast, program chosen,
                                                      std::vector<std::string> warnings);

/// The hash of weights, code and the signature's attribute, in hex. It does not depend on how values are named or
/// constants placed in the code, so it outlives saving and loading.
std::string content_hash(const torch::jit::Module& source, const std::string& signature_text);

}  // namespace ganglion

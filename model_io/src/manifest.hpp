#pragma once

#include "model_state.hpp"

#include <string>
#include <vector>

namespace ganglion {

/// How an artifact was made. Without one, only the cast is known, from the signature's attribute.
struct manifest {
  /// How one program was made.
  struct entry {
    std::string recipe;
    std::string measurements = "{}";
  };
  /// In the order of the signatures; empty where there was no manifest.
  std::vector<entry> programs;
  program_policy policy;
  std::string content_hash;
  std::vector<std::string> warnings;
};

/// A model's manifest as JSON.
std::string manifest_of(const compiled_model::state& state);

/// The reverse. Throws `error` with `model_load_failed`; `subject` begins the sentence.
manifest read_manifest(const std::string& subject, const std::string& text);

}  // namespace ganglion

#pragma once

#include <ganglion/model_io/signature.hpp>

#include <torch/csrc/jit/api/module.h>

#include <stop_token>
#include <string>

namespace ganglion {

/// Finds out whether rows along dim 0 may be run on the compiled batch in any number and company (S10).
/// Empty where they may; else the reason why not, as the end of a sentence. `stop` ends it, see `interrupted`.
std::string probe_rows(const torch::jit::Module& source, const signature& sig, const std::stop_token& stop = {});

}  // namespace ganglion

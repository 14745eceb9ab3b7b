#pragma once

#include <string>

namespace ganglion {

/// The type of this machine's CPU, and the instructions that oneDNN uses on it: `AMD EPYC, avx512_core_bf16`. What was
/// timed on one type says little of another.
const std::string& cpu_type();

}  // namespace ganglion

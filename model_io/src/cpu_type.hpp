#pragma once

#include <string>

namespace ganglion {

/// The type of this machine's CPU, and the instructions that oneDNN uses on it: `AMD EPYC, avx512_core_bf16`. What was
/// timed on one type says little of another.
const std::string& cpu_type();

/// Whether oneDNN has instructions for bf16 on it. Without them bf16 is slower than fp32.
bool cpu_has_bf16();

}  // namespace ganglion

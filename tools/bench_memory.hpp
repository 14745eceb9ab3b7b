#pragma once

#include <ganglion/model_io/model.hpp>

#include <cstdint>

namespace ganglion::command {

/// The bytes of this process that are in memory now (VmRSS).
std::int64_t resident_bytes();

/// The most bytes that one forward of the compiled program has allocated at a time, its answer included, as LibTorch's
/// allocator tells it; weights are not among them. Runs on a thread of its own, with a replica of its own.
std::int64_t activation_bytes(const compiled_model& model);

}  // namespace ganglion::command

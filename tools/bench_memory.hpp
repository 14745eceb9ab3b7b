#pragma once

#include <ganglion/model_io/model.hpp>

#include <cstdint>

namespace ganglion::command {

/// The bytes of this process that are in memory now (VmRSS).
std::int64_t resident_bytes();

/// The most bytes that a further replica of the compiled program and its forwards hold at a time, their answer and an
/// arena included, as LibTorch's allocator tells it; weights, which all replicas share, are not among them. Runs on a
/// thread of its own.
std::int64_t activation_bytes(const compiled_model& model);

}  // namespace ganglion::command

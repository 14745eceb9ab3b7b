#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>

/// Reads a gzipped IDX file of unsigned bytes, the format of the MNIST database: a tensor u8 of the sizes
/// that the file states. Throws `ganglion::error` (`io_failed`: cannot be read; `invalid_argument`: holds
/// something else).
at::Tensor read_idx_file(const std::filesystem::path& path);

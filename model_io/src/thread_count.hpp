#pragma once

#include <ganglion/model_io/error.hpp>

#include <fmt/format.h>

#include <cstddef>

namespace ganglion {

/// More are a mistake, and as many as `engine_options::threads_per_core` takes.
inline constexpr std::size_t most_threads = 1024;

/// Checks the option `threads` of `trace` and `load`. Throws `invalid_argument`.
inline void check_threads(std::size_t threads) {
  if (threads == 0 || threads > most_threads)
    throw error{errc::invalid_argument, fmt::format("threads is {}: it must be from 1 to {}", threads, most_threads)};
}

}  // namespace ganglion

#pragma once

#include <cstddef>
#include <string>

namespace ganglion::command {

/// A forward allocates and frees its large activations anew each time. By default malloc gets each of them from the
/// kernel and gives it back, and zeroing fresh pages takes a good part of a convolution net's time: let it keep them.
/// That is a program's decision, so it is made by the command and not in the libraries. Called first of all.
void tune_malloc();

/// What `tune_malloc` has set, and whose malloc it is.
struct malloc_settings {
  std::string allocator;  ///< `glibc 2.36`, or the library that was loaded in its place
  std::size_t mmap_threshold = 0;
  std::size_t trim_threshold = 0;
};

malloc_settings read_malloc_settings();

}  // namespace ganglion::command

#include "malloc_settings.hpp"

#include <gnu/libc-version.h>
#include <malloc.h>
#include <fstream>

namespace ganglion::command {

namespace {

constexpr int threshold = 1 << 30;

/// The file name of a library that brings a malloc of its own, where this process has one.
std::string other_allocator() {
  std::ifstream maps{"/proc/self/maps"};
  for (std::string line; std::getline(maps, line);)
    for (const auto* name : {"libjemalloc", "libmimalloc", "libtcmalloc"})
      if (const auto at = line.find(name); at != line.npos) return line.substr(at);
  return {};
}

}  // namespace

void tune_malloc() {
  mallopt(M_MMAP_THRESHOLD, threshold);
  mallopt(M_TRIM_THRESHOLD, threshold);
}

malloc_settings read_malloc_settings() {
  auto other = other_allocator();
  return {other.empty() ? std::string{"glibc "} + gnu_get_libc_version() : other, threshold, threshold};
}

}  // namespace ganglion::command

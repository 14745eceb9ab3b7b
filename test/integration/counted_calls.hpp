#pragma once

#include <cstddef>

/// What the test program's own definitions of a few functions of the C library count. They stand before the library's
/// own, for every library of the process; under a sanitizer, which has definitions of its own, nothing is counted.
namespace ganglion::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool calls_are_counted = false;
#else
inline constexpr bool calls_are_counted = true;
#endif

/// From so many bytes on a piece of memory counts as large.
inline constexpr std::size_t large = 64 << 10;

/// What is expected of a count of allocations.
constexpr std::size_t where_counted(std::size_t n) { return calls_are_counted ? n : 0; }

struct counted_calls {
  std::size_t threads_made = 0;         ///< by pthread_create
  std::size_t large_allocations = 0;    ///< by malloc and posix_memalign, of which LibTorch's tensors come
  std::size_t allocated_bytes = 0;      ///< by those
  std::size_t copied_bytes = 0;         ///< by memcpy in the project's own code, large ones
};

/// Since the process began. Any thread.
counted_calls calls_so_far();

/// Those since the object was made.
class calls_since {
 public:
  calls_since() : before_(calls_so_far()) {}
  counted_calls operator()() const {
    const auto now = calls_so_far();
    return {now.threads_made - before_.threads_made, now.large_allocations - before_.large_allocations,
            now.allocated_bytes - before_.allocated_bytes, now.copied_bytes - before_.copied_bytes};
  }

 private:
  counted_calls before_;
};

}  // namespace ganglion::test

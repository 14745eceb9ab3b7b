#include "counted_calls.hpp"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>

namespace {

std::atomic<std::size_t> threads_made{0}, large_allocations{0}, allocated_bytes{0}, copied_bytes{0};

[[maybe_unused]] void count_allocation(std::size_t size) {
  if (size < ganglion::test::large) return;
  ++large_allocations;
  allocated_bytes += size;
}

}  // namespace

namespace ganglion::test {

counted_calls calls_so_far() { return {threads_made, large_allocations, allocated_bytes, copied_bytes}; }

}  // namespace ganglion::test

extern "C" {

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void* __libc_malloc(std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  count_allocation(size);
  return __libc_malloc(size);
}

int posix_memalign(void** into, std::size_t alignment, std::size_t size) {
  count_allocation(size);
  auto* made = __libc_memalign(alignment, size);
  if (made == nullptr) return 12;  // ENOMEM
  *into = made;
  return 0;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*), void* argument) {
  using function = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto make = reinterpret_cast<function>(dlsym(RTLD_NEXT, "pthread_create"));
  ++threads_made;
  return make(thread, attributes, run, argument);
}
#endif

// The linker puts these in the place of what the project's own objects call (--wrap).
void* __real_memcpy(void* to, const void* from, std::size_t size);
void* __real_memmove(void* to, const void* from, std::size_t size);

void* __wrap_memcpy(void* to, const void* from, std::size_t size) {
  if (size >= ganglion::test::large) copied_bytes += size;
  return __real_memcpy(to, from, size);
}

void* __wrap_memmove(void* to, const void* from, std::size_t size) {
  if (size >= ganglion::test::large) copied_bytes += size;
  return __real_memmove(to, from, size);
}

}  // extern "C"

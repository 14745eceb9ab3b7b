#include "lifetime.hpp"

#include <ganglion/model_io/error.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace ganglion::python {

namespace {

std::atomic<bool> closed{false};
std::atomic<bool> forked{false};
std::atomic<int> entering{0};
std::atomic<pid_t> maker{0};

[[noreturn]] void stay_here() {
  for (;;) ::pause();
}

}  // namespace

void require_usable() {
  if (forked.load(std::memory_order_relaxed))
    throw error(
        errc::core_unavailable,
        fmt::format("the cores belong to process {}, and this is its fork {}: an engine does not survive a fork. Use "
                    "multiprocessing's \"spawn\" method, or make the first DataParallel after the fork",
                    maker.load(), ::getpid()));
  if (closed.load(std::memory_order_relaxed))
    throw error(errc::draining, "the interpreter is ending: no more calls are taken");
}

bool must_leak() noexcept { return forked.load() || closed.load(); }

void engine_was_made() noexcept { maker = ::getpid(); }

void engine_was_left_behind() noexcept { forked = true; }

void close_to_threads() {
  if (forked) return;  // here are no other threads
  closed = true;
  // Who is past the question below has the GIL soon, since the caller lets go of it here.
  Py_BEGIN_ALLOW_THREADS while (entering != 0) std::this_thread::yield();
  Py_END_ALLOW_THREADS
}

entry::entry() {
  ++entering;
  if (!closed) return;
  --entering;
  stay_here();
}

entry::~entry() { --entering; }

}  // namespace ganglion::python

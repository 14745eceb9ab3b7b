#include "lifetime.hpp"

#include <ganglion/model_io/error.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace py = pybind11;

namespace ganglion::python {

namespace {

/// How long daemon threads have to come to rest: LibTorch's own functions let go of the GIL too, and a thread that
/// comes back to a finalized interpreter from one of them ends the process with `terminate`.
constexpr std::chrono::milliseconds grace{200};

std::atomic<bool> ending{false};
std::atomic<bool> closed{false};
std::atomic<bool> forked{false};
std::atomic<int> entering{0};
std::atomic<int> resting{0};
std::atomic<pid_t> maker{0};

[[noreturn]] void stay_here() {
  ++resting;
  for (;;) ::pause();
}

thread_local bool tells_futures = false;

int other_threads() { return py::module_::import("threading").attr("active_count")().cast<int>() - 1; }

bool is_daemon() { return py::module_::import("threading").attr("current_thread")().attr("daemon").cast<bool>(); }

}  // namespace

void require_usable() {
  if (forked.load(std::memory_order_relaxed))
    throw error(
        errc::core_unavailable,
        fmt::format("the cores belong to process {}, and this is its fork {}: an engine does not survive a fork. Use "
                    "multiprocessing's \"spawn\" method, or make the first DataParallel after the fork",
                    maker.load(), ::getpid()));
  if (!ending.load(std::memory_order_relaxed)) return;
  if (tells_futures || !is_daemon()) throw error(errc::draining, "the interpreter is ending: no more calls are taken");
  PyEval_SaveThread();
  stay_here();
}

void this_thread_tells_futures() noexcept { tells_futures = true; }

bool must_leak() noexcept { return forked.load() || closed.load(); }

void engine_was_made() noexcept { maker = ::getpid(); }

void engine_was_left_behind() noexcept { forked = true; }

void refuse_calls() { ending = true; }

void close_to_threads() {
  if (forked) return;  // here are no other threads
  const auto others = other_threads();
  const auto end_of_grace = std::chrono::steady_clock::now() + grace;
  auto* const saved = PyEval_SaveThread();
  while (resting < others && std::chrono::steady_clock::now() < end_of_grace)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  closed = true;
  // Who is past the question below has the GIL soon, since the caller has let go of it.
  while (entering != 0) std::this_thread::yield();
  PyEval_RestoreThread(saved);
}

entry::entry() {
  ++entering;
  if (!closed) return;
  --entering;
  stay_here();
}

entry::~entry() { --entering; }

}  // namespace ganglion::python

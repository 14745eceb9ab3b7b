#include "lifetime.hpp"

#include <ganglion/actors/core/cpu_lane.hpp>
#include <ganglion/model_io/error.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace py = pybind11;

namespace ganglion::python {

namespace {

/// How long daemon threads have to come to rest: LibTorch's own functions let go of the GIL too, and a thread that
/// comes back to a finalized interpreter from one of them ends the process with `terminate`.
constexpr std::chrono::milliseconds grace{200};

/// How often a callback that goes on for ever is told to end when its time is over, and how long it has each time.
constexpr int tries = 20;
constexpr std::chrono::milliseconds between_tries{50};

std::atomic<bool> ending{false};
std::atomic<bool> closed{false};
std::atomic<bool> forked{false};
std::atomic<int> entering{0};
std::atomic<int> resting{0};
std::atomic<pid_t> maker{0};
std::atomic<unsigned long> teller{0};  // the thread's identity in Python; 0: nobody tells

thread_local bool is_telling = false;

template <class Condition>
void wait_until(std::chrono::steady_clock::time_point latest, Condition holds) {
  while (!holds() && std::chrono::steady_clock::now() < latest)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

/// None where a signal's handler raises, as a second Ctrl-C does: nothing may keep the end from what follows.
int other_threads() {
  try {
    return py::module_::import("threading").attr("active_count")().cast<int>() - 1;
  } catch (py::error_already_set& e) {
    e.discard_as_unraisable("the end of torch_neuron");
    return 0;
  }
}

/// When nothing can be imported any more the interpreter's own thread is the only one left.
bool is_daemon() {
  try {
    return py::module_::import("threading").attr("current_thread")().attr("daemon").cast<bool>();
  } catch (const py::error_already_set&) {
    return false;
  }
}

}  // namespace

void stay_here() noexcept {
  ++resting;
  for (;;) ::pause();
}

void require_usable() {
  if (forked.load(std::memory_order_relaxed))
    throw error(
        errc::core_unavailable,
        fmt::format("the cores belong to process {}, and this is its fork {}: an engine does not survive a fork. Use "
                    "multiprocessing's \"spawn\" method, or make the first DataParallel after the fork",
                    maker.load(), ::getpid()));
  refuse_at_the_end();
}

void refuse_at_the_end() {
  if (!ending.load(std::memory_order_relaxed)) return;
  if (is_telling || !is_daemon()) throw error(errc::draining, "the interpreter is ending: no more calls are taken");
  PyEval_SaveThread();
  stay_here();
}

void this_thread_tells_futures() noexcept {
  is_telling = true;
  teller = PyThread_get_thread_ident();
}

bool tells_futures() noexcept { return is_telling; }

void refuse_engine_thread(std::string_view what) {
  if (on_engine_thread())
    throw error(
        errc::invalid_argument,
        fmt::format("{} was called by an operator of a model, on one of the engine's own threads, which would wait for "
                    "itself: use submit without waiting, or call it from a thread of yours",
                    what));
}

void refuse_wait_for_future() {
  refuse_engine_thread("result()");
  if (is_telling)
    throw error(errc::invalid_argument,
                "a callback of a future waits for another future, which is told its answer when the callback has "
                "returned: add a callback to that one too, or wait for it on a thread of yours");
}

bool must_leak() noexcept { return forked.load() || closed.load(); }

void engine_was_made() noexcept { maker = ::getpid(); }

void engine_was_left_behind() noexcept { forked = true; }

void refuse_calls() { ending = true; }

void close_to_threads(std::chrono::steady_clock::time_point latest) {
  if (forked) return;  // here are no other threads
  const auto others = other_threads();
  const auto end_of_grace = std::chrono::steady_clock::now() + grace;
  auto* const saved = PyEval_SaveThread();
  wait_until(end_of_grace, [others] { return resting >= others; });
  closed = true;
  // Who is past the question below has the GIL soon, since the caller has let go of it.
  const auto nobody_comes = [] { return entering == 0; };
  wait_until(std::max(latest, end_of_grace), nobody_comes);
  PyEval_RestoreThread(saved);
  // A callback that goes on: an end of the interpreter that meets it on its way into Python can hang. One after the
  // other is told to end; one that blocks never comes to hear of it.
  for (int i = 0; i < tries && !nobody_comes(); ++i) {
    PyThreadState_SetAsyncExc(teller, PyExc_SystemExit);
    const py::gil_scoped_release others_run;
    wait_until(std::chrono::steady_clock::now() + between_tries, nobody_comes);
  }
}

entry::entry() {
  ++entering;
  if (!closed) return;
  --entering;
  stay_here();
}

entry::~entry() { --entering; }

}  // namespace ganglion::python

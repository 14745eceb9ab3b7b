#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <string_view>

/// When the engine may be used, and when its threads may touch Python.
namespace ganglion::python {

/// Refuses what cannot work: in a fork of the process that made the engine, and once the interpreter is
/// ending. Every entry into the engine asks first. Throws `error` with `core_unavailable` or `draining`. The caller
/// holds the GIL.
void require_usable();
/// The second half of that, for what needs no engine: throws `error` with `draining` once the interpreter is ending. A
/// daemon thread that comes then stays here for the rest of the process, unless it is the one that tells futures, for
/// which that end waits.
void refuse_at_the_end();

/// The calling thread tells futures, and runs what was added to them as callbacks.
void this_thread_tells_futures() noexcept;
/// Whether it does.
bool tells_futures() noexcept;

/// Refuses a wait for the engine on one of its own threads, where a model's Python operator runs: it would wait for
/// itself. Throws `error` with `invalid_argument`.
void refuse_engine_thread(std::string_view what);
/// The same for a future, which is also not to be waited for by the thread that tells it.
void refuse_wait_for_future();

/// Whether what holds a part of the engine is left alone rather than destroyed: in a forked child, whose
/// engine has no threads, and once the interpreter is ending.
bool must_leak() noexcept;

/// Told by the host: the engine was made by this process; this process is a fork of the one that made it.
void engine_was_made() noexcept;
void engine_was_left_behind() noexcept;

/// The interpreter is ending: no more calls are taken.
void refuse_calls();

/// Closes Python to all threads but the caller's: those that come back from waiting stay where they are for
/// the rest of the process. Returns when none of them is on its way. A future's callback that goes on at the time given
/// is ended there by a SystemExit, and left where it is if it blocks. The caller holds the GIL.
void close_to_threads(std::chrono::steady_clock::time_point latest);

/// For a thread that must not come back.
[[noreturn]] void stay_here() noexcept;

/// Waits for permission to take the GIL. Never returns once Python is closed.
class entry {
 public:
  entry();
  ~entry();
  entry(const entry&) = delete;
  entry& operator=(const entry&) = delete;
};

/// Lets other Python threads run while this object lives. Where the interpreter ends meanwhile, the thread
/// never comes back: Python would end it by unwinding through our frames.
class without_gil {
 public:
  without_gil() : saved_(PyEval_SaveThread()) {}
  ~without_gil() {
    const entry permission;
    PyEval_RestoreThread(saved_);
  }
  without_gil(const without_gil&) = delete;
  without_gil& operator=(const without_gil&) = delete;

 private:
  PyThreadState* saved_;
};

/// Holds the GIL on a thread of ours. Python waits for it to let go before it is closed: what it runs may give the GIL
/// up in between.
class with_gil {
 public:
  with_gil() : state_(PyGILState_Ensure()) {}
  ~with_gil() { PyGILState_Release(state_); }
  with_gil(const with_gil&) = delete;
  with_gil& operator=(const with_gil&) = delete;

 private:
  entry permission_;  // first to come, last to go
  PyGILState_STATE state_;
};

}  // namespace ganglion::python

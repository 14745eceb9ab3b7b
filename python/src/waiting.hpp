#pragma once

#include "lifetime.hpp"

#include <chrono>
#include <future>
#include <stop_token>

/// Waiting that Ctrl-C ends. The caller holds the GIL.
namespace ganglion::python {

/// How long Ctrl-C may have to wait.
inline constexpr std::chrono::milliseconds between_signals{50};

/// Waits until a future is ready, other Python threads running. Where a signal's handler raises, as Ctrl-C's does, that
/// is thrown after a call of `give_up`.
template <class Future, class GiveUp>
void wait(const Future& future, GiveUp give_up) {
  while (PyErr_CheckSignals() == 0) {
    const without_gil others_run;
    if (future.wait_for(between_signals) == std::future_status::ready) return;
  }
  const pybind11::error_already_set raised;
  give_up();
  throw raised;
}

/// What `work(stop token)` returns, done on a thread of its own. Ctrl-C asks it to stop, and waits until it has.
/// `draining` once the interpreter is ending.
template <class Work>
auto interruptible(Work work) {
  refuse_at_the_end();
  std::stop_source stop;
  auto result = std::async(std::launch::async, [&] { return work(stop.get_token()); });
  wait(result, [&] {
    stop.request_stop();
    const without_gil others_run;
    result.wait();
  });
  return result.get();
}

}  // namespace ganglion::python

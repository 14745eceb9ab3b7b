#pragma once

#include <ganglion/actors/protocol/response.hpp>

#include <pybind11/pybind11.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

namespace ganglion::python {

/// Tells Python's futures the answers of requests that nobody waits for, from one thread of its own: the
/// engine's threads never wait for the GIL. Never destroyed.
class completions {
 public:
  static completions& process_wide();

  /// What is to be called once with the answer, on any thread. `future` has a method `_finish(value, exception)`, which
  /// is called then. The caller holds the GIL.
  std::function<void(response&&)> teller(pybind11::object future);

  /// Has `release_kept` called on that thread. From any thread.
  void release_soon();

 private:
  struct answer {
    response result;
    PyObject* future;  // ours; let go of under the GIL
  };

  completions();
  void run();
  std::vector<answer> take();

  std::mutex mutex_;
  std::condition_variable added_;
  std::vector<answer> answers_;
  bool release_ = false;
};

}  // namespace ganglion::python

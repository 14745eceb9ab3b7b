#pragma once

#include <ATen/core/ivalue.h>
#include <pybind11/pybind11.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <vector>

namespace ganglion::python {

/// Tells Python's futures the answers of requests that nobody waits for, from one thread of its own: the
/// engine's threads never wait for the GIL. Never destroyed.
class completions {
 public:
  static completions& process_wide();

  /// `future` has a method `_finish(value, exception)`, which is called once. The caller holds the GIL.
  void add(std::future<c10::IValue> answer, pybind11::object future);

 private:
  struct pending {
    std::future<c10::IValue> answer;
    pybind11::object future;
  };

  completions();
  void run();
  std::vector<pending> take_ready();

  std::mutex mutex_;
  std::condition_variable added_;
  std::vector<pending> pending_;
};

}  // namespace ganglion::python

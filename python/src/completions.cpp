#include "completions.hpp"

#include "errors.hpp"
#include "kept.hpp"
#include "lifetime.hpp"
#include "values.hpp"

#include <cxxabi.h>

#include <thread>
#include <utility>

namespace py = pybind11;

namespace ganglion::python {

namespace {

/// `future._finish(value, exception)`. Where the interpreter has not waited for what is called back, Python ends this
/// thread by unwinding as soon as it comes back: it stays here instead. Nothing here is to be destroyed on the way.
PyObject* finish(PyObject* future, PyObject* value, PyObject* exception) {
  try {
    return PyObject_CallMethod(future, "_finish", "OO", value, exception);
  } catch (const abi::__forced_unwind&) {
    stay_here();
  }
}

void tell(response& result, const py::object& future) {
  try {
    const auto value = result.ok() ? to_python(std::move(result.outputs)) : py::none();
    const auto exception = result.ok() ? py::none() : exception_for(result.error);
    const auto done = py::reinterpret_steal<py::object>(finish(future.ptr(), value.ptr(), exception.ptr()));
    if (!done) throw py::error_already_set();
  } catch (py::error_already_set& e) {
    e.discard_as_unraisable("a future of torch_neuron");
  }
}

}  // namespace

completions& completions::process_wide() {
  static auto* const only = new completions;
  return *only;
}

completions::completions() {
  std::thread([this] { run(); }).detach();
}

std::function<void(response&&)> completions::teller(py::object future) {
  return [this, held = future.release().ptr()](response&& result) {
    const std::lock_guard lock(mutex_);
    answers_.push_back({std::move(result), held});
    added_.notify_one();
  };
}

void completions::release_soon() {
  const std::lock_guard lock(mutex_);
  release_ = true;
  added_.notify_one();
}

std::vector<completions::answer> completions::take() {
  std::unique_lock lock(mutex_);
  added_.wait(lock, [this] { return release_ || !answers_.empty(); });
  release_ = false;
  return std::exchange(answers_, {});
}

void completions::run() {
  this_thread_tells_futures();
  for (;;) {
    auto answers = take();
    const with_gil python;
    for (auto& [result, future] : answers) tell(result, py::reinterpret_steal<py::object>(future));
    answers.clear();
    release_kept();
  }
}

}  // namespace ganglion::python

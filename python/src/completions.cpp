#include "completions.hpp"

#include "errors.hpp"
#include "kept.hpp"
#include "lifetime.hpp"
#include "values.hpp"

#include <thread>
#include <utility>

namespace py = pybind11;

namespace ganglion::python {

namespace {

void tell(response& result, const py::object& future) {
  try {
    if (result.ok())
      future.attr("_finish")(to_python(std::move(result.outputs)), py::none());
    else
      future.attr("_finish")(py::none(), exception_for(result.error));
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

std::vector<completions::answer> completions::take() {
  std::unique_lock lock(mutex_);
  added_.wait(lock, [this] { return !answers_.empty(); });
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

#include "completions.hpp"

#include "errors.hpp"
#include "kept.hpp"
#include "lifetime.hpp"
#include "values.hpp"

#include <algorithm>
#include <iterator>
#include <thread>

namespace py = pybind11;

namespace ganglion::python {

namespace {

/// A std::future tells nobody that it is ready.
constexpr std::chrono::microseconds between_looks{500};

void tell(std::future<c10::IValue>& answer, const py::object& future) {
  py::object value = py::none(), exception = py::none();
  try {
    value = to_python(answer.get());
  } catch (...) {
    exception = exception_for(std::current_exception());
  }
  future.attr("_finish")(value, exception);
}

}  // namespace

completions& completions::process_wide() {
  static auto* const only = new completions;
  return *only;
}

completions::completions() {
  std::thread([this] { run(); }).detach();
}

void completions::add(std::future<c10::IValue> answer, py::object future) {
  const std::lock_guard lock(mutex_);
  pending_.push_back({std::move(answer), std::move(future)});
  added_.notify_one();
}

std::vector<completions::pending> completions::take_ready() {
  std::unique_lock lock(mutex_);
  added_.wait(lock, [this] { return !pending_.empty(); });
  const auto waiting = [](const pending& p) {
    return p.answer.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
  };
  const auto ready = std::stable_partition(pending_.begin(), pending_.end(), waiting);
  std::vector<pending> taken{std::make_move_iterator(ready), std::make_move_iterator(pending_.end())};
  pending_.erase(ready, pending_.end());
  return taken;
}

void completions::run() {
  for (;;) {
    auto ready = take_ready();
    if (ready.empty()) {
      std::this_thread::sleep_for(between_looks);
      continue;
    }
    const with_gil python;
    for (auto& [answer, future] : ready) {
      try {
        tell(answer, future);
      } catch (py::error_already_set& e) {
        e.discard_as_unraisable("a future of torch_neuron");
      }
    }
    release_kept();
    ready.clear();
  }
}

}  // namespace ganglion::python

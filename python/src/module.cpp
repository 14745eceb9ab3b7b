#include "bindings.hpp"
#include "errors.hpp"
#include "host.hpp"
#include "kept.hpp"
#include "lifetime.hpp"

namespace py = pybind11;

namespace {

/// Registered with Python's atexit. Afterwards no thread of ours touches Python any more.
void end() {
  using namespace ganglion::python;
  if (must_leak()) return;  // a forked child: a thread that is not there may have any of the locks
  const auto latest = std::chrono::steady_clock::now() + end_bound;
  refuse_calls();
  end_host();
  close_to_threads(latest);
  leak_kept();
}

}  // namespace

PYBIND11_MODULE(_engine, m) {
  using namespace ganglion::python;
  // The types of tensors and modules are registered by torch's own extension.
  py::module_::import("torch");
  m.attr("__version__") = GANGLION_VERSION;
  translate_errors();
  watch_forks();
  bind_models(m);
  bind_parallel(m);
  bind_status(m);
  m.def("configure", &configure, py::arg("options"));
  m.def("require_usable", &require_usable);
  m.def("refuse_at_the_end", &refuse_at_the_end);
  m.def("tells_futures", &tells_futures);
  m.def("refuse_wait_for_future", &refuse_wait_for_future);
  m.def("end", &end);
}

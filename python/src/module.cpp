#include "bindings.hpp"
#include "errors.hpp"
#include "host.hpp"
#include "kept.hpp"
#include "lifetime.hpp"

namespace py = pybind11;

namespace {

/// Registered with Python's atexit. What is in flight gets a few seconds; then no thread of ours touches
/// Python any more.
void end() {
  using namespace ganglion::python;
  refuse_calls();
  drain_host();
  close_to_threads();
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
  m.def("end", &end);
}

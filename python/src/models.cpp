#include "bindings.hpp"
#include "errors.hpp"
#include "lifetime.hpp"
#include "module_view.hpp"
#include "values.hpp"

#include <ganglion/model_io/model.hpp>

#include <pybind11/stl.h>
#include <torch/csrc/jit/python/module_python.h>

namespace py = pybind11;
namespace jit = torch::jit;

namespace ganglion::python {

namespace {

compiled_model compile(const jit::Module& module, const py::tuple& example, bool bf16, bool tune) {
  if (!module.find_method("forward")) throw error(errc::unsupported_model, "the module has no method forward");
  auto inputs = example_for(module.get_method("forward").function().getSchema(), example);
  trace_options options;
  options.auto_cast = bf16 ? auto_cast::bf16 : auto_cast::none;
  options.tune = tune;
  const without_gil others_run;
  return trace(module, std::move(inputs), options);
}

compiled_model restored(const jit::Module& module) {
  auto own = view_of(module);
  const without_gil others_run;
  return restore(own);
}

std::vector<std::string> texts(const std::vector<tensor_spec>& specs) {
  std::vector<std::string> all;
  for (const auto& spec : specs) all.push_back(to_string(spec));
  return all;
}

}  // namespace

void bind_models(py::module_& m) {
  py::class_<compiled_model>(m, "CompiledModel")
      .def_property_readonly("argument_names", [](const compiled_model& c) { return c.signature().argument_names; })
      .def_property_readonly("inputs", [](const compiled_model& c) { return texts(c.inputs()); })
      .def_property_readonly("outputs", [](const compiled_model& c) { return texts(c.outputs()); })
      .def_property_readonly("recipe", [](const compiled_model& c) { return c.recipe(); })
      .def_property_readonly("warnings", &compiled_model::warnings)
      .def_property_readonly("content_hash", &compiled_model::content_hash)
      .def_property_readonly("weight_bytes", &compiled_model::weight_bytes)
      .def("module", [](const compiled_model& c) { return view_of(c.source()); });
  m.def("compile", &compile, py::arg("module"), py::arg("example"), py::arg("bf16"), py::arg("tune"));
  m.def("restore", &restored, py::arg("module"));
}

}  // namespace ganglion::python

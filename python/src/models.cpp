#include "bindings.hpp"
#include "errors.hpp"
#include "lifetime.hpp"
#include "module_view.hpp"
#include "options_reader.hpp"
#include "values.hpp"
#include "waiting.hpp"

#include <ganglion/model_io/interruptible.hpp>

#include <pybind11/stl.h>
#include <torch/csrc/jit/python/module_python.h>

namespace py = pybind11;
namespace jit = torch::jit;

namespace ganglion::python {

namespace {

compiled_model compile(const jit::Module& module, const std::vector<py::tuple>& examples, const py::dict& given) {
  if (!module.find_method("forward")) throw error(errc::unsupported_model, "the module has no method forward");
  const auto& forward = module.get_method("forward").function().getSchema();
  trace_options options;
  bool bf16 = false;
  std::vector<py::tuple> calibration;
  const options_reader reader(given);
  reader.read("bf16", bf16);
  reader.read("tune", options.tune);
  reader.read("threads", options.threads);
  reader.read("max_deviation", options.max_deviation);
  reader.read("calibration", calibration);
  options.auto_cast = bf16 ? auto_cast::bf16 : auto_cast::none;
  for (const auto& arguments : calibration) options.calibration.push_back(example_for(forward, arguments));
  for (const auto& example : examples) options.more_examples.push_back(example_for(forward, example));
  const auto first = std::move(options.more_examples.front());
  options.more_examples.erase(options.more_examples.begin());
  return interruptible([&](std::stop_token stop) { return trace(module, first, options, std::move(stop)); });
}

compiled_model restored(const jit::Module& module) {
  const auto own = view_of(module);
  return interruptible([&](std::stop_token stop) { return restore(own, std::move(stop)); });
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
      .def_property_readonly("program_count", &compiled_model::program_count)
      .def_property_readonly("recipe", [](const compiled_model& c) { return c.recipe(); })
      .def_property_readonly("warnings", &compiled_model::warnings)
      .def_property_readonly("content_hash", &compiled_model::content_hash)
      .def_property_readonly("weight_bytes", &compiled_model::weight_bytes)
      .def("module", [](const compiled_model& c) { return view_of(c.source()); });
  m.def("compile", &compile, py::arg("module"), py::arg("examples"), py::arg("options"));
  m.def("restore", &restored, py::arg("module"));
}

}  // namespace ganglion::python

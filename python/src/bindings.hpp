#pragma once

#include <pybind11/pybind11.h>

/// What `torch_neuron._engine` consists of.
namespace ganglion::python {

void bind_models(pybind11::module_& m);
void bind_parallel(pybind11::module_& m);
void bind_status(pybind11::module_& m);

}  // namespace ganglion::python

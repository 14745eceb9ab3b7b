#pragma once

#include <ganglion/model_io/error.hpp>

#include <pybind11/pybind11.h>

namespace ganglion::python {

/// The Python exception for an error: an instance of one of torch_neuron.errors' classes. Needs the GIL.
pybind11::object exception_for(const failure& f);

/// Raises TypeError, as torch_neuron.errors has it, with a sentence.
[[noreturn]] void refuse_type(const std::string& sentence);

/// From now on `ganglion::error` reaches Python as these exceptions.
void translate_errors();

}  // namespace ganglion::python

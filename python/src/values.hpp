#pragma once

#include <ganglion/model_io/signature.hpp>

#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>
#include <pybind11/pybind11.h>

#include <vector>

namespace ganglion::python {

/// The arguments of a call as the engine takes them. Containers are read as the compiled example has them: a
/// dict's keys may come in any order, an int may stand for a float. What does not fit is passed on as it is,
/// for the engine to say so. Tensors are not copied; they are `lent`. TypeError for what no model takes, such as a list
/// that contains itself; `error` with `invalid_argument` for ints and texts that no model can have.
std::vector<c10::IValue> arguments_for(const signature& sig, const pybind11::tuple& given);

/// An example's values for forward, with the types that it declares.
std::vector<c10::IValue> example_for(const c10::FunctionSchema& forward, const pybind11::tuple& given);

/// An answer as Python has it.
pybind11::object to_python(c10::IValue value);

}  // namespace ganglion::python

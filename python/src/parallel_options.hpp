#pragma once

#include <ganglion/engine/data_parallel.hpp>

#include <pybind11/pybind11.h>

namespace ganglion::python {

/// Reads the options of a DataParallel from a dict with their names in C++; durations are seconds, and those that are
/// not there, or None, have their defaults. Throws `error`, and TypeError for device ids of a wrong type.
data_parallel_options parallel_options_from(const pybind11::dict& given);

/// Refuses what is below 0, which no size_t can hold.
std::size_t checked_workers(std::int64_t n);

}  // namespace ganglion::python

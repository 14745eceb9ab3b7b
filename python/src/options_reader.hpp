#pragma once

#include "seconds.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace ganglion::python {

/// Reads options from a dict with their names in C++. Those that are not there, or None, stay as they are.
class options_reader {
 public:
  explicit options_reader(const pybind11::dict& given) : given_(given) {}

  template <class T>
  void read(const char* name, T& into) const {
    if (has(name)) into = given_[name].cast<T>();
  }

  /// Durations are seconds.
  template <class Duration>
  void read_seconds(const char* name, Duration& into) const {
    if (has(name)) into = seconds_from(name, given_[name].cast<double>());
  }

 private:
  bool has(const char* name) const { return given_.contains(name) && !given_[name].is_none(); }

  const pybind11::dict& given_;
};

}  // namespace ganglion::python

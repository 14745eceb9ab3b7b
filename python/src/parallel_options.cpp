#include "parallel_options.hpp"

#include "errors.hpp"
#include "options_reader.hpp"

#include <fmt/format.h>

#include <limits>

namespace py = pybind11;

namespace ganglion::python {

namespace {

[[noreturn]] void refuse(const std::string& text) {
  throw error(
      errc::invalid_device_id,
      fmt::format("device id {} is no core: ids are zero-based indices of the cores that this process sees", text));
}

device_id device_id_from(py::handle item, std::size_t index) {
  if (PyUnicode_Check(item.ptr())) {
    Py_ssize_t size = 0;
    const auto* const text = PyUnicode_AsUTF8AndSize(item.ptr(), &size);
    if (text != nullptr) return device_id(std::string(text, static_cast<std::size_t>(size)));
    PyErr_Clear();
    refuse(py::str(py::module_::import("builtins").attr("ascii")(item)));
  }
  const auto whole = PyBool_Check(item.ptr()) ? py::object()
                                              : py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
  if (!whole) {
    PyErr_Clear();
    refuse_type(fmt::format("device_ids[{}] is a {}: give an int, or a str like 'nc:0'", index,
                            std::string(py::str(py::type::of(item).attr("__name__")))));
  }
  int overflow = 0;
  const auto value = PyLong_AsLongLongAndOverflow(whole.ptr(), &overflow);
  if (overflow != 0 || value > std::numeric_limits<int>::max() || value < std::numeric_limits<int>::min())
    refuse(py::str(item));
  return device_id(static_cast<int>(value));
}

std::vector<device_id> device_ids_from(const py::object& given) {
  std::vector<device_id> ids;
  if (given.is_none()) return ids;
  if (py::isinstance<py::str>(given) || !py::isinstance<py::iterable>(given))
    refuse_type(fmt::format("device_ids is a {}: give a list of ints and strs like 'nc:0', or None for all cores",
                            std::string(py::str(py::type::of(given).attr("__name__")))));
  for (auto item : given) ids.push_back(device_id_from(item, ids.size()));
  return ids;
}

}  // namespace

data_parallel_options parallel_options_from(const py::dict& given) {
  data_parallel_options options;
  if (given.contains("device_ids")) options.device_ids = device_ids_from(given["device_ids"]);
  const options_reader reader(given);
  reader.read("dim", options.dim);
  reader.read("dynamic_batching", options.dynamic_batching);
  std::optional<std::int64_t> workers;
  reader.read("num_workers", workers);
  if (workers) options.num_workers = checked_workers(*workers);
  reader.read("split_size", options.split_size);
  reader.read_seconds("max_queue_delay", options.max_queue_delay);
  reader.read_seconds("ageing", options.ageing);
  reader.read("deterministic", options.deterministic);
  reader.read("pad_values", options.pad_values);
  return options;
}

std::size_t checked_workers(std::int64_t n) {
  if (n < 0)
    throw error(
        errc::invalid_argument,
        fmt::format("num_workers is {}, but at least 1 execution must be in flight: give a positive number", n));
  return static_cast<std::size_t>(n);
}

}  // namespace ganglion::python

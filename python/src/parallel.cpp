#include "parallel.hpp"

#include "bindings.hpp"
#include "completions.hpp"
#include "errors.hpp"
#include "host.hpp"
#include "kept.hpp"
#include "lifetime.hpp"
#include "values.hpp"

#include <fmt/format.h>
#include <pybind11/stl.h>

#include <limits>
#include <new>

namespace py = pybind11;

namespace ganglion::python {

namespace {

/// How long Ctrl-C may have to wait.
constexpr std::chrono::milliseconds between_signals{50};

device_id device_id_from(py::handle item, std::size_t index) {
  if (py::isinstance<py::str>(item)) return device_id(py::cast<std::string>(item));
  if (!PyLong_Check(item.ptr()) || PyBool_Check(item.ptr()))
    refuse_type(fmt::format("device_ids[{}] is a {}: give an int, or a str like 'nc:0'", index,
                            std::string(py::str(py::type::of(item).attr("__name__")))));
  int overflow = 0;
  const auto value = PyLong_AsLongLongAndOverflow(item.ptr(), &overflow);
  if (overflow != 0 || value > std::numeric_limits<int>::max() || value < std::numeric_limits<int>::min())
    throw error(errc::invalid_device_id,
                fmt::format("device id {} is no core: ids are zero-based indices of the cores that this process sees",
                            std::string(py::str(item))));
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

std::size_t checked_workers(std::int64_t n) {
  if (n < 0)
    throw error(
        errc::invalid_argument,
        fmt::format("num_workers is {}, but at least 1 execution must be in flight: give a positive number", n));
  return static_cast<std::size_t>(n);
}

/// Waits with the GIL let go. A signal's handler that raises, as Ctrl-C's does, ends the wait and cancels the request.
void wait(const std::future<response>& future, request_handle& request) {
  for (;;) {
    {
      const without_gil others_run;
      if (future.wait_for(between_signals) == std::future_status::ready) return;
    }
    if (PyErr_CheckSignals() == 0) continue;
    const py::error_already_set raised;
    request.cancel();
    throw raised;
  }
}

}  // namespace

parallel::parallel(compiled_model model, const py::object& device_ids, std::int64_t dim, bool dynamic_batching,
                   std::optional<std::int64_t> num_workers, std::optional<std::int64_t> split_size) {
  data_parallel_options options;
  options.device_ids = device_ids_from(device_ids);
  options.dim = dim;
  options.dynamic_batching = dynamic_batching;
  if (num_workers) options.num_workers = checked_workers(*num_workers);
  options.split_size = split_size;
  auto& on = host();
  const without_gil others_run;
  inner_ = std::make_shared<data_parallel>(on, std::move(model), std::move(options));
}

parallel::~parallel() {
  if (must_leak())
    static_cast<void>(new (std::nothrow) std::shared_ptr<data_parallel>(std::move(inner_)));
  else
    close();
}

std::shared_ptr<data_parallel> parallel::held() const {
  require_usable();
  if (!inner_) throw error(errc::draining, "this DataParallel was closed: make another one");
  return inner_;
}

py::object parallel::call(const py::tuple& arguments) {
  const auto target = held();
  auto inputs = arguments_for(target->model().signature(), arguments);
  request_handle request;
  request_options options;
  options.stop = request.token();
  std::future<response> future;
  {
    const without_gil others_run;
    future = target->submit(std::move(inputs), std::move(options));
    future.wait_for(between_signals);
  }
  wait(future, request);
  release_kept();
  say_what_was_logged();
  return to_python(std::move(future.get().outputs));
}

request_handle parallel::submit(const py::tuple& arguments, py::object future, const request_wish& wish) {
  const auto target = held();
  release_kept();
  auto options = wish.options();
  auto inputs = arguments_for(target->model().signature(), arguments);
  request_handle request;
  options.stop = request.token();
  auto tell = completions::process_wide().teller(std::move(future));
  const without_gil others_run;
  target->start(std::move(inputs), std::move(options), std::move(tell));
  return request;
}

void parallel::disable_dynamic_batching() { held()->disable_dynamic_batching(); }

void parallel::num_workers(std::int64_t n) { held()->num_workers(checked_workers(n)); }

void parallel::split_size(std::int64_t rows) { held()->split_size(rows); }

void parallel::close() {
  if (!inner_ || must_leak()) return;
  const without_gil others_run;
  inner_.reset();
}

void bind_parallel(py::module_& m) {
  using size_getter = std::size_t (parallel::*)() const;
  using rows_getter = std::optional<std::int64_t> (parallel::*)() const;
  using setter = void (parallel::*)(std::int64_t);
  py::class_<request_handle>(m, "Request").def("cancel", &request_handle::cancel);
  py::class_<parallel>(m, "Parallel")
      .def(py::init<compiled_model, py::object, std::int64_t, bool, std::optional<std::int64_t>,
                    std::optional<std::int64_t>>(),
           py::arg("model"), py::arg("device_ids"), py::arg("dim"), py::arg("dynamic_batching"), py::arg("num_workers"),
           py::arg("split_size"))
      .def("call", &parallel::call)
      .def(
          "submit",
          [](parallel& p, const py::tuple& arguments, py::object future, std::optional<double> timeout,
             std::string priority, std::string tenant) {
            return p.submit(arguments, std::move(future), {timeout, std::move(priority), std::move(tenant)});
          },
          py::arg("arguments"), py::arg("future"), py::arg("timeout"), py::arg("priority"), py::arg("tenant"))
      .def("disable_dynamic_batching", &parallel::disable_dynamic_batching)
      .def_property_readonly("dynamic_batching", &parallel::dynamic_batching)
      .def_property("num_workers", static_cast<size_getter>(&parallel::num_workers),
                    static_cast<setter>(&parallel::num_workers))
      .def_property("split_size", static_cast<rows_getter>(&parallel::split_size),
                    static_cast<setter>(&parallel::split_size))
      .def_property_readonly("warnings", &parallel::warnings)
      .def_property_readonly("cores", &parallel::cores)
      .def_property_readonly("closed", &parallel::closed)
      .def("close", &parallel::close);
  m.def("say_what_was_logged", &say_what_was_logged);
}

}  // namespace ganglion::python

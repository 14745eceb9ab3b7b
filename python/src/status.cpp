#include "bindings.hpp"
#include "host.hpp"
#include "lifetime.hpp"

#include <fmt/format.h>

namespace py = pybind11;
using namespace pybind11::literals;

namespace ganglion::python {

namespace {

py::dict core_as_dict(const core_info& place, const core_status& counted) {
  return py::dict("index"_a = place.index, "global_index"_a = place.global, "chip"_a = place.chip,
                  "core"_a = place.core, "up"_a = counted.up, "restarts"_a = counted.restarts,
                  "executions"_a = counted.executions, "rows"_a = counted.rows, "padding_rows"_a = counted.padding_rows,
                  "busy_seconds"_a = static_cast<double>(counted.busy_ns) * 1e-9, "model_bytes"_a = counted.model_bytes,
                  "models"_a = counted.models);
}

py::dict status_as_dict() {
  auto& on = host();
  struct status now;
  {
    const without_gil others_run;
    now = on.status();
  }
  py::list cores;
  for (std::size_t i = 0; i < now.cores.size() && i < on.cores().size(); ++i)
    cores.append(core_as_dict(on.cores()[i], now.cores[i]));
  return py::dict("cores"_a = cores, "queued_rows"_a = now.queued_rows, "queued_bytes"_a = now.queued_bytes,
                  "unanswered"_a = now.unanswered, "executions_in_flight"_a = now.executions_in_flight,
                  "abandoned_lanes"_a = now.abandoned_lanes);
}

}  // namespace

void bind_status(py::module_& m) { m.def("status", &status_as_dict); }

}  // namespace ganglion::python

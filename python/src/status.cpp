#include "bindings.hpp"
#include "host.hpp"
#include "lifetime.hpp"

#include <fmt/format.h>
#include <pybind11/stl.h>

#include <limits>

namespace py = pybind11;
using namespace pybind11::literals;

namespace ganglion::python {

namespace {

py::dict core_as_dict(const core_info& place, const core_status& counted) {
  return py::dict("index"_a = place.index, "global_index"_a = place.global, "chip"_a = place.chip,
                  "core"_a = place.core, "up"_a = counted.up, "lost"_a = counted.lost, "restarts"_a = counted.restarts,
                  "executions"_a = counted.executions, "rows"_a = counted.rows, "padding_rows"_a = counted.padding_rows,
                  "busy_seconds"_a = static_cast<double>(counted.busy_ns) * 1e-9,
                  "up_seconds"_a = static_cast<double>(counted.up_ns) * 1e-9, "model_bytes"_a = counted.model_bytes,
                  "models"_a = counted.models);
}

py::dict quantiles(const histogram& h) {
  py::dict result;
  for (double share : {0.5, 0.9, 0.99}) {
    auto t = h.count() == 0 ? std::numeric_limits<double>::quiet_NaN()
                            : std::chrono::duration<double>(h.quantile(share)).count();
    result[py::float_(share)] = t;
  }
  return result;
}

py::dict model_as_dict(const model_status& m) {
  py::dict outcomes;
  for (std::size_t code = 0; code < m.outcomes.size() && code < errc_count; ++code)
    if (m.outcomes[code] > 0) outcomes[py::str(std::string{to_string(static_cast<errc>(code))})] = m.outcomes[code];
  return py::dict("id"_a = m.id, "content_hash"_a = m.content_hash, "cores"_a = m.cores,
                  "queued_rows"_a = m.queued_rows, "queued_bytes"_a = m.queued_bytes, "unanswered"_a = m.unanswered,
                  "executions_in_flight"_a = m.executions_in_flight, "rows"_a = m.rows, "outcomes"_a = outcomes,
                  "queued_seconds"_a = quantiles(m.queued), "compute_seconds"_a = quantiles(m.compute),
                  "total_seconds"_a = quantiles(m.total));
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
  py::list models;
  for (const auto& m : now.models) models.append(model_as_dict(m));
  return py::dict("cores"_a = cores, "models"_a = models, "queued_rows"_a = now.queued_rows,
                  "queued_bytes"_a = now.queued_bytes, "unanswered"_a = now.unanswered,
                  "executions_in_flight"_a = now.executions_in_flight, "abandoned_lanes"_a = now.abandoned_lanes,
                  "abandoned_bytes"_a = now.abandoned_bytes);
}

}  // namespace

void bind_status(py::module_& m) { m.def("status", &status_as_dict); }

}  // namespace ganglion::python

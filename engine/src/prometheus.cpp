#include <ganglion/engine/prometheus.hpp>

#include <ganglion/model_io/error.hpp>

#include <prometheus/text_serializer.h>

#include <cmath>
#include <limits>

namespace ganglion {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using labels = std::vector<ClientMetric::Label>;

/// Families in the making, each with one series a core or a model.
class families {
 public:
  MetricFamily& add(MetricType type, std::string name, std::string help) {
    return all_.emplace_back(MetricFamily{"ganglion_" + std::move(name), std::move(help), type, {}});
  }
  const std::vector<MetricFamily>& all() const { return all_; }

 private:
  std::vector<MetricFamily> all_;
};

template <class Number>
void add_series(MetricFamily& to, labels of, Number value) {
  auto& m = to.metric.emplace_back();
  m.label = std::move(of);
  (to.type == MetricType::Counter ? m.counter.value : m.gauge.value) = static_cast<double>(value);
}

double seconds(std::chrono::nanoseconds t) { return std::chrono::duration<double>(t).count(); }

/// With one bucket for each doubling from 16 us on, which are bounds of the histogram's own.
void add_series(MetricFamily& to, labels of, const histogram& h) {
  auto& m = to.metric.emplace_back();
  m.label = std::move(of);
  m.histogram.sample_count = h.count();
  m.histogram.sample_sum = seconds(h.sum());
  for (auto bound = std::chrono::nanoseconds(1 << 14); bound < std::chrono::hours(1); bound *= 2)
    m.histogram.bucket.push_back({h.count_below(bound), seconds(bound)});
  m.histogram.bucket.push_back({h.count(), std::numeric_limits<double>::infinity()});
}

void add_engine(families& to, const status& now) {
  auto gauge = [&](const char* name, const char* help, std::uint64_t value) {
    add_series(to.add(MetricType::Gauge, name, help), {}, value);
  };
  gauge("queued_rows", "Rows accepted and in no execution yet", now.queued_rows);
  gauge("queued_bytes", "Bytes of those rows", now.queued_bytes);
  gauge("unanswered_requests", "Requests accepted and not answered", now.unanswered);
  gauge("executions_in_flight", "Executions given to cores and not reported", now.executions_in_flight);
  gauge("abandoned_lanes", "Threads of given-up lanes that have not ended", now.abandoned_lanes);
  gauge("abandoned_bytes", "What those threads keep alive", now.abandoned_bytes);
}

void add_cores(families& to, const std::vector<core_status>& cores) {
  auto series = [&](MetricType type, const char* name, const char* help, auto value_of) {
    auto& family = to.add(type, name, help);
    for (const auto& c : cores) add_series(family, {{"core", std::to_string(c.index)}}, value_of(c));
  };
  using core = const core_status&;
  constexpr auto gauge = MetricType::Gauge, counter = MetricType::Counter;
  series(gauge, "core_up", "Whether the core serves", [](core c) { return c.up; });
  series(gauge, "core_lost", "Whether it died so often that nothing waits for it", [](core c) { return c.lost; });
  series(counter, "core_restarts_total", "How often it died", [](core c) { return c.restarts; });
  series(counter, "core_executions_total", "Executions that it ran", [](core c) { return c.executions; });
  series(counter, "core_rows_total", "Rows in them", [](core c) { return c.rows; });
  series(counter, "core_padding_rows_total", "Rows in them that were nobody's", [](core c) { return c.padding_rows; });
  series(counter, "core_busy_seconds_total", "Time in executions",
         [](core c) { return seconds(std::chrono::nanoseconds(c.busy_ns)); });
  series(gauge, "core_model_bytes", "Weights of the models on it", [](core c) { return c.model_bytes; });
}

labels labels_of(const model_status& m) { return {{"model", std::to_string(m.id)}}; }

void add_models(families& to, const std::vector<model_status>& models) {
  auto series = [&](MetricType type, const char* name, const char* help, auto value_of) {
    auto& family = to.add(type, name, help);
    for (const auto& m : models) add_series(family, labels_of(m), value_of(m));
  };
  using model = const model_status&;
  constexpr auto gauge = MetricType::Gauge, counter = MetricType::Counter, distribution = MetricType::Histogram;
  auto& info = to.add(gauge, "model_info", "The content hash of a model's file");
  for (const auto& m : models)
    add_series(info, {{"model", std::to_string(m.id)}, {"content_hash", m.content_hash}}, 1);
  series(gauge, "model_queued_rows", "Rows accepted and in no execution yet", [](model m) { return m.queued_rows; });
  series(gauge, "model_queued_bytes", "Bytes of those rows", [](model m) { return m.queued_bytes; });
  series(gauge, "model_unanswered_requests", "Requests accepted and not answered",
         [](model m) { return m.unanswered; });
  series(gauge, "model_executions_in_flight", "Executions given to cores and not reported",
         [](model m) { return m.executions_in_flight; });
  series(counter, "model_rows_total", "Rows accepted", [](model m) { return m.rows; });
  auto& requests = to.add(counter, "model_requests_total", "Requests answered or refused, by code");
  for (const auto& m : models)
    for (std::size_t code = 0; code < m.outcomes.size() && code < errc_count; ++code)
      add_series(requests,
                 {{"model", std::to_string(m.id)}, {"code", std::string{to_string(static_cast<errc>(code))}}},
                 m.outcomes[code]);
  series(distribution, "request_queued_seconds", "From acceptance until the first forward began",
         [](model m) { return m.queued; });
  series(distribution, "request_compute_seconds", "From there until the last forward returned",
         [](model m) { return m.compute; });
  series(distribution, "request_seconds", "From acceptance to answer", [](model m) { return m.total; });
}

}  // namespace

std::string prometheus_text(const status& now) {
  families result;
  add_engine(result, now);
  add_cores(result, now.cores);
  add_models(result, now.models);
  return prometheus::TextSerializer{}.Serialize(result.all());
}

}  // namespace ganglion

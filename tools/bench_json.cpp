#include "bench_report.hpp"

#include "bench_statistics.hpp"
#include "command.hpp"

#include <algorithm>

namespace ganglion::command {

namespace {

constexpr double mib = 1 << 20;

boost::json::object json_of(const latency_summary& l) {
  return {{"count", l.count},   {"mean", 1e3 * l.mean}, {"p50", 1e3 * l.p50},    {"p90", 1e3 * l.p90},
          {"p95", 1e3 * l.p95}, {"p99", 1e3 * l.p99},   {"p99.9", 1e3 * l.p999}, {"max", 1e3 * l.largest}};
}

/// The figure by which MLPerf judges the scenario.
boost::json::object figure_json(const bench_report& r) {
  const auto figure = figure_of(r.scenario, r.load());
  switch (r.scenario) {
    case scenario::offline: return {{"name", "rows_per_second"}, {"value", figure}};
    case scenario::single_stream: return {{"name", "p90_ms"}, {"value", 1e3 * figure}};
    case scenario::server:
      if (!r.result.search) return {{"name", "p99_ms"}, {"value", 1e3 * figure}};
      return {{"name", "requests_per_second"}, {"value", r.result.search->found ? r.result.qps.value() : 0}};
  }
  return {};
}

boost::json::object windows_json(const bench_report& r) {
  const auto& measured = r.result.measured;
  const double unit = r.scenario == scenario::offline ? 1 : 1e3;
  boost::json::array figures;
  for (const auto figure : measured.figures) figures.push_back(unit * figure);
  return {{"seconds_each", measured.window_seconds},
          {"count", measured.figures.size()},
          {"counted", std::min(measured.figures.size(), windows_that_count)},
          {"most", stability_rule{}.most},
          {"agreed", measured.agreed},
          {"figures", std::move(figures)},
          {"requests", boost::json::array(measured.requests.begin(), measured.requests.end())}};
}

boost::json::array rates_json(const std::vector<tried_rate>& rates) {
  boost::json::array array;
  for (const auto& rate : rates)
    array.push_back({{"qps", rate.qps},
                     {"for", purpose_name(rate.purpose)},
                     {"requests", rate.requests},
                     {"p50_ms", 1e3 * rate.p50},
                     {"p99_ms", 1e3 * rate.p99},
                     {"held", rate.held},
                     {"cut_short", rate.cut_short}});
  return array;
}

boost::json::object json_of(const rate_search_result& s, const std::optional<double>& qps) {
  return {{"found", s.found},
          {"qps", s.found ? boost::json::value(*qps) : boost::json::value()},
          {"ran_out_of_tries", s.ran_out},
          {"first_guess_qps", s.first_guess}};
}

boost::json::object json_of(const scaling_result& s) {
  return {{"cores", s.cores},
          {"one_core_rows_per_second", s.one_rows_per_second},
          {"all_cores_rows_per_second", s.all_rows_per_second},
          {"scaling", s.scaling},
          {"largest_difference", s.largest_difference}};
}

boost::json::object json_of(const throughput_baseline& b) {
  boost::json::object o{{"engine_rows_per_second", b.engine},
                        {"intra_op_threads", b.cpus},
                        {"thread_pool_workers", b.pool_workers},
                        {"thread_pool_largest_difference", b.pool_difference},
                        {"weight_storages_one_replica", b.weight_storages_of_one},
                        {"weight_storages_all_replicas", b.weight_storages_of_all},
                        {"replicas", b.cores}};
  for (const auto& peer : b.peers) {
    o[peer.key + "_rows_per_second"] = peer.rows_per_second;
    o["ratio_to_" + peer.key] = peer.ratio;
  }
  return o;
}

boost::json::object json_of(const memory_baseline& m) {
  boost::json::array steps;
  for (const auto bytes : m.resident_bytes) steps.push_back(static_cast<double>(bytes) / mib);
  return {{"resident_mib", std::move(steps)},
          {"growth_per_core_mib", m.growth_per_core / mib},
          {"growth_of_bare_loop_mib", static_cast<double>(m.growth_of_bare_loop) / mib},
          {"activations_mib", static_cast<double>(m.activation_bytes) / mib}};
}

boost::json::object json_of(const idle_baseline& i) {
  return {{"engine_p50_us", 1e6 * i.engine_p50}, {"ring_p50_us", 1e6 * i.ring_p50}, {"ratio", i.ratio}};
}

}  // namespace

boost::json::object to_json(const bench_report& r) {
  const auto& load = r.load();
  boost::json::object o{{"model", r.model},
                        {"recipe", r.recipe},
                        {"compiled_batch", r.compiled_rows},
                        {"cores", r.cores.size()},
                        {"device_ids", boost::json::array(r.cores.begin(), r.cores.end())},
                        {"machine", to_json(r.machine)},
                        {"seed", r.seed},
                        {"scenario", scenario_name(r.scenario)},
                        {"figure", figure_json(r)},
                        {"batch", r.result.request_rows},
                        {"seconds", load.seconds},
                        {"windows", windows_json(r)},
                        {"requests",
                         {{"sent", load.requests_sent},
                          {"answered", load.requests_answered},
                          {"refused", load.requests_refused},
                          {"abandoned", load.requests_abandoned}}},
                        {"rows_sent", load.rows_sent},
                        {"rows_answered", load.rows_answered},
                        {"rows_per_second", load.rows_per_second},
                        {"latency_ms", json_of(summarize(load.latencies))},
                        {"executions", r.executions.executions},
                        {"padding_share", padding_share(r)},
                        {"warnings", strings_json(r.result.warnings)}};
  if (r.result.qps) o["qps"] = *r.result.qps;
  if (r.target_p99) {
    o["target_p99_ms"] = 1e3 * *r.target_p99;
    o["target_held"] = target_held(r);
  }
  if (r.result.search) o["search"] = json_of(*r.result.search, r.result.qps);
  if (r.scenario == scenario::server) o["rates"] = rates_json(r.result.rates);
  if (r.scaling) o["scaling"] = json_of(*r.scaling);
  if (r.throughput)
    o["baseline"] = {
        {"throughput", json_of(*r.throughput)}, {"memory", json_of(*r.memory)}, {"idle", json_of(*r.idle)}};
  if (!r.picture.empty()) o["picture"] = r.picture;
  if (!r.timeline.empty()) o["timeline"] = r.timeline;
  return o;
}

}  // namespace ganglion::command

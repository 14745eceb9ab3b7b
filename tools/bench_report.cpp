#include "bench_report.hpp"

#include "bench_statistics.hpp"
#include "command.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

namespace ganglion::command {

namespace {

constexpr double mib = 1 << 20;

template <class... Values>
void print_line(std::string_view title, fmt::format_string<Values...> format, Values&&... values) {
  fmt::print("{:<18}{}\n", title, fmt::format(format, std::forward<Values>(values)...));
}

std::string in_milliseconds(double seconds) { return fmt::format("{:.3f} ms", 1e3 * seconds); }

double padding_share(const bench_report& r) {
  const auto all = r.executions.rows + r.executions.padding_rows;
  return all == 0 ? 0 : static_cast<double>(r.executions.padding_rows) / static_cast<double>(all);
}

std::string requests_text(const bench_report& r) {
  auto text =
      fmt::format("{} of {}", counted(r.load.requests_answered, "request"), counted(r.request_rows, r.row_noun));
  if (r.load.requests_refused > 0) text += fmt::format(", {} refused", r.load.requests_refused);
  if (r.load.requests_abandoned > 0) text += fmt::format(", {} not awaited", r.load.requests_abandoned);
  return text;
}

void print_load(const bench_report& r) {
  print_line(scenario_name(r.scenario), "{:.2f} {}s/s: {} in {:.2f} s", r.load.rows_per_second, r.row_noun,
             requests_text(r), r.load.seconds);
  const auto latency = summarize(r.load.latencies);
  // Offline it is the length of the queue that decides them.
  if (r.scenario != scenario::offline)
    print_line("latency", "p50 {}, p90 {}, p99 {}, at most {}", in_milliseconds(latency.p50),
               in_milliseconds(latency.p90), in_milliseconds(latency.p99), in_milliseconds(latency.largest));
  if (r.qps) print_line("arrivals", "{:g} requests/s on average", *r.qps);
  if (r.target_p99)
    print_line("target", "p99 of {} {}", in_milliseconds(*r.target_p99), target_held(r) ? "held" : "missed");
  print_line("executions", "{} of {}, {:.1f} % of them padding", r.executions.executions,
             counted(r.compiled_rows, r.row_noun), 100 * padding_share(r));
}

void print_scaling(const scaling_result& s, const std::string& noun) {
  print_line("1 core", "{:.2f} {}s/s", s.one_rows_per_second, noun);
  print_line(counted(static_cast<std::int64_t>(s.cores), "core"), "{:.2f} {}s/s, scaling {:.3f}", s.all_rows_per_second,
             noun, s.scaling);
  print_line("difference", "at most {:.2g} from the module run alone", s.largest_difference);
}

void print_throughput(const throughput_baseline& b, const std::string& noun) {
  print_line("bare loops", "{:.3f} of {} at once ({:.2f} against {:.2f} {}s/s)", b.ratio_to_bare_loops,
             counted(static_cast<std::int64_t>(b.cores), "loop"), b.engine, b.bare_loops, noun);
  print_line("intra-op", "{:.3f} of one forward at a time on {} ({:.2f} {}s/s)", b.ratio_to_intra_op,
             counted(static_cast<std::int64_t>(b.cpus), "thread"), b.intra_op, noun);
  print_line("weights", "{} in 1 bare loop, {} in {}",
             counted(static_cast<std::int64_t>(b.weight_storages_of_one), "storage"), b.weight_storages_of_all,
             b.cores);
}

void print_memory(const memory_baseline& m) {
  std::vector<std::string> steps;
  for (const auto bytes : m.resident_bytes) steps.push_back(fmt::format("{:.1f}", static_cast<double>(bytes) / mib));
  print_line("resident memory", "{} MiB with 1 to {} cores", fmt::join(steps, ", "), steps.size());
  print_line("", "{:.1f} MiB for each added core, {:.1f} MiB for a bare loop, {:.1f} MiB of activations",
             m.growth_per_core / mib, static_cast<double>(m.growth_of_bare_loop) / mib,
             static_cast<double>(m.activation_bytes) / mib);
}

void print_idle(const idle_baseline& i) {
  print_line("idle round trip", "p50 {:.1f} us, {:.3f} of a bare ring of three threads ({:.1f} us)", 1e6 * i.engine_p50,
             i.ratio, 1e6 * i.ring_p50);
}

boost::json::object json_of(const latency_summary& l) {
  return {{"count", l.count},      {"mean", 1e3 * l.mean}, {"p50", 1e3 * l.p50},    {"p90", 1e3 * l.p90},
          {"p95", 1e3 * l.p95},    {"p99", 1e3 * l.p99},   {"max", 1e3 * l.largest}};
}

boost::json::object json_of(const machine_description& m) {
  return {{"cpu", m.cpu}, {"cpus", m.cpus}, {"libtorch", m.libtorch}, {"blas", strings_json(m.blas)}};
}

boost::json::object json_of(const scaling_result& s) {
  return {{"cores", s.cores},
          {"one_core_rows_per_second", s.one_rows_per_second},
          {"all_cores_rows_per_second", s.all_rows_per_second},
          {"scaling", s.scaling},
          {"largest_difference", s.largest_difference}};
}

boost::json::object json_of(const throughput_baseline& b) {
  return {{"engine_rows_per_second", b.engine},
          {"bare_loops_rows_per_second", b.bare_loops},
          {"ratio_to_bare_loops", b.ratio_to_bare_loops},
          {"intra_op_threads", b.cpus},
          {"intra_op_rows_per_second", b.intra_op},
          {"ratio_to_intra_op", b.ratio_to_intra_op},
          {"weight_storages_one_replica", b.weight_storages_of_one},
          {"weight_storages_all_replicas", b.weight_storages_of_all},
          {"replicas", b.cores}};
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

const char* scenario_name(scenario kind) {
  switch (kind) {
    case scenario::offline: return "offline";
    case scenario::single_stream: return "single-stream";
    case scenario::server: return "server";
  }
  return "";
}

bool target_held(const bench_report& r) {
  return r.load.requests_answered == r.load.requests_sent && summarize(r.load.latencies).p99 <= r.target_p99.value();
}

boost::json::object to_json(const bench_report& r) {
  boost::json::object o{{"model", r.model},
                        {"recipe", r.recipe},
                        {"compiled_batch", r.compiled_rows},
                        {"cores", r.cores.size()},
                        {"device_ids", boost::json::array(r.cores.begin(), r.cores.end())},
                        {"machine", json_of(r.machine)},
                        {"scenario", scenario_name(r.scenario)},
                        {"batch", r.request_rows},
                        {"seconds", r.load.seconds},
                        {"requests",
                         {{"sent", r.load.requests_sent},
                          {"answered", r.load.requests_answered},
                          {"refused", r.load.requests_refused},
                          {"abandoned", r.load.requests_abandoned}}},
                        {"rows_sent", r.load.rows_sent},
                        {"rows_answered", r.load.rows_answered},
                        {"rows_per_second", r.load.rows_per_second},
                        {"latency_ms", json_of(summarize(r.load.latencies))},
                        {"executions", r.executions.executions},
                        {"padding_share", padding_share(r)},
                        {"warnings", strings_json(r.warnings)}};
  if (r.qps) o["qps"] = *r.qps;
  if (r.target_p99) {
    o["target_p99_ms"] = 1e3 * *r.target_p99;
    o["target_held"] = target_held(r);
  }
  if (r.scaling) o["scaling"] = json_of(*r.scaling);
  if (r.throughput)
    o["baseline"] = {
        {"throughput", json_of(*r.throughput)}, {"memory", json_of(*r.memory)}, {"idle", json_of(*r.idle)}};
  if (!r.timeline.empty()) o["timeline"] = r.timeline;
  return o;
}

void print_report(const bench_report& r) {
  print_line("model", "{}, {}, compiled for {}, on {}", r.model, r.recipe, counted(r.compiled_rows, r.row_noun),
             counted(static_cast<std::int64_t>(r.cores.size()), "core"));
  print_line("machine", "{}, {}, LibTorch {}, {}", r.machine.cpu,
             counted(static_cast<std::int64_t>(r.machine.cpus), "CPU"), r.machine.libtorch,
             fmt::join(r.machine.blas, ", "));
  print_load(r);
  if (r.scaling) print_scaling(*r.scaling, r.row_noun);
  if (r.throughput) print_throughput(*r.throughput, r.row_noun);
  if (r.memory) print_memory(*r.memory);
  if (r.idle) print_idle(*r.idle);
  if (!r.timeline.empty()) print_line("timeline", "{}", r.timeline);
}

std::string picture_title(const bench_report& r) {
  return fmt::format("{} on {}", std::filesystem::path{r.model}.filename().native(),
                     counted(static_cast<std::int64_t>(r.cores.size()), "core"));
}

std::string picture_subtitle(const bench_report& r) {
  auto text = fmt::format("{}: {:.1f} {}s/s in requests of {}, compiled for {} ({})", scenario_name(r.scenario),
                          r.load.rows_per_second, r.row_noun, r.request_rows, r.compiled_rows, r.recipe);
  if (r.scenario != scenario::offline) {
    const auto latency = summarize(r.load.latencies);
    text += fmt::format(", p50 {}, p99 {}", in_milliseconds(latency.p50), in_milliseconds(latency.p99));
  }
  return text;
}

}  // namespace ganglion::command

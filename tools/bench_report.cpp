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

std::string requests_text(const bench_report& r) {
  auto text = fmt::format("{} of {}", counted(r.load().requests_answered, "request"),
                          counted(r.result.request_rows, r.row_noun));
  if (r.load().requests_refused > 0) text += fmt::format(", {} refused", r.load().requests_refused);
  if (r.load().requests_abandoned > 0) text += fmt::format(", {} not awaited", r.load().requests_abandoned);
  return text;
}

std::string windows_text(const measured_load& m) {
  const auto all = m.figures.size();
  if (m.agreed)
    return fmt::format("the last {} of {} agree within {:g} % ({:.3g} s each)", windows_that_count, all,
                       100 * stability_rule{}.within, m.window_seconds);
  return fmt::format(
      "no {} in a row of {} agree within {:g} % ({:.3g} s each): the machine is busy, or --seconds is "
      "too short",
      windows_that_count, all, 100 * stability_rule{}.within, m.window_seconds);
}

std::string search_text(const bench_report& r) {
  const auto& search = *r.result.search;
  const auto tries = counted(static_cast<std::int64_t>(r.result.rates.size()), "measurement");
  if (search.found)
    return fmt::format("{:.4g} requests/s keep a p99 of {}, after {}", *r.result.qps, in_milliseconds(*r.target_p99),
                       tries);
  return fmt::format("none {} a p99 of {}, {}; the figures are those of {:.4g} requests/s",
                     search.ran_out ? "was confirmed to keep" : "keeps", in_milliseconds(*r.target_p99), tries,
                     *r.result.qps);
}

void print_load(const bench_report& r) {
  print_line(scenario_name(r.scenario), "{:.2f} {}s/s: {} in {:.2f} s", r.load().rows_per_second, r.row_noun,
             requests_text(r), r.load().seconds);
  print_line("windows", "{}", windows_text(r.result.measured));
  const auto latency = summarize(r.load().latencies);
  // Offline it is the length of the queue that decides them.
  if (r.scenario != scenario::offline)
    print_line("latency", "p50 {}, p90 {}, p99 {}, p99.9 {}, at most {}", in_milliseconds(latency.p50),
               in_milliseconds(latency.p90), in_milliseconds(latency.p99), in_milliseconds(latency.p999),
               in_milliseconds(latency.largest));
  if (r.result.qps) print_line("arrivals", "{:.4g} requests/s on average, seed {}", *r.result.qps, r.seed);
  if (r.result.search) print_line("highest rate", "{}", search_text(r));
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
  print_line("baseline", "{:.2f} {}s/s of the engine are", b.engine, noun);
  for (const auto& peer : b.peers)
    print_line("", "{:.3f} of {} ({:.2f} {}s/s)", peer.ratio, peer.told, peer.rows_per_second, noun);
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

}  // namespace

double padding_share(const bench_report& r) {
  const auto all = r.executions.rows + r.executions.padding_rows;
  return all == 0 ? 0 : static_cast<double>(r.executions.padding_rows) / static_cast<double>(all);
}

bool target_held(const bench_report& r) { return keeps(r.load(), r.target_p99.value()); }

void print_report(const bench_report& r) {
  print_line("model", "{}, {}, compiled for {}, on {}", r.model, r.recipe, counted(r.compiled_rows, r.row_noun),
             counted(static_cast<std::int64_t>(r.cores.size()), "core"));
  print_line("machine", "{}", to_text(r.machine));
  print_load(r);
  if (r.scaling) print_scaling(*r.scaling, r.row_noun);
  if (r.throughput) print_throughput(*r.throughput, r.row_noun);
  if (r.memory) print_memory(*r.memory);
  if (r.idle) print_idle(*r.idle);
  if (!r.picture.empty()) print_line("picture", "{}", r.picture);
  if (!r.timeline.empty()) print_line("timeline", "{}", r.timeline);
}

std::string picture_title(const bench_report& r) {
  return fmt::format("{} on {}", std::filesystem::path{r.model}.filename().native(),
                     counted(static_cast<std::int64_t>(r.cores.size()), "core"));
}

std::string picture_subtitle(const bench_report& r) {
  auto text = fmt::format("{}: {:.1f} {}s/s in requests of {}, compiled for {} ({})", scenario_name(r.scenario),
                          r.load().rows_per_second, r.row_noun, r.result.request_rows, r.compiled_rows, r.recipe);
  if (r.scenario != scenario::offline) {
    const auto latency = summarize(r.load().latencies);
    text += fmt::format(", p50 {}, p99 {}", in_milliseconds(latency.p50), in_milliseconds(latency.p99));
  }
  return text;
}

}  // namespace ganglion::command

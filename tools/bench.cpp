#include "bench_duration.hpp"
#include "bench_input.hpp"
#include "bench_report.hpp"
#include "command.hpp"
#include "timeline_svg.hpp"
#include "utf8.hpp"

#include <ganglion/model_io/whole_file.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <ostream>
#include <set>

namespace ganglion::command {

namespace {

/// The options as the command line gives them.
struct bench_command : bench_options {
  std::string scenario_text = "offline";
  std::string target_text;
  std::optional<double> seconds_given;
};

// -- reading the command line ----------------------------------------------------------------------------------------

scenario parse_scenario(const std::string& text) {
  for (const auto kind : {scenario::offline, scenario::single_stream, scenario::server})
    if (text == scenario_name(kind)) return kind;
  throw usage_error(fmt::format("--scenario is offline, single-stream or server, not '{}'", text));
}

/// A day: what is measured for longer is a mistake in the unit.
constexpr double most_seconds = 86'400;
/// Each request is remembered until the end.
constexpr double most_arrivals = 1'000'000;

void refuse_unless_positive(const char* name, double value) {
  if (!(value > 0)) throw error(errc::invalid_argument, fmt::format("{} is {:g}: it must be above 0", name, value));
}

void read(bench_command& given) {
  given.scenario = parse_scenario(given.scenario_text);
  if (!given.target_text.empty()) {
    given.target_p99 = parse_duration(given.target_text);
    if (!given.target_p99)
      throw usage_error(
          fmt::format("--target-p99 takes a duration such as 15ms, 800us or 0.5s, not '{}'", given.target_text));
    if (given.scenario == scenario::offline)
      throw error(errc::invalid_argument, "--target-p99 bounds the latency of the scenarios single-stream and server: "
                                          "offline has none to keep");
  }
  if (given.scenario == scenario::server && !given.qps)
    throw usage_error("the scenario server needs --qps, the requests a second that arrive on average");
  if (given.scenario != scenario::server && given.qps)
    throw error(errc::invalid_argument,
                fmt::format("--qps belongs to the scenario server: in {} the answers set the pace",
                            given.scenario_text));
  if (given.seconds_given) given.seconds = *given.seconds_given;
  refuse_unless_positive("--seconds", given.seconds);
  if (given.qps) refuse_unless_positive("--qps", *given.qps);
  for (const auto& [name, seconds] : {std::pair{"--seconds", given.seconds},
                                      std::pair{"--target-p99", given.target_p99.value_or(0)}})
    if (seconds > most_seconds)
      throw error(errc::invalid_argument,
                  fmt::format("{} is {:g} s: the largest is {:g}, a day", name, seconds, most_seconds));
  if (given.qps && *given.qps * given.seconds > most_arrivals)
    throw error(errc::invalid_argument,
                fmt::format("--qps {:g} for {:g} s is {:g} requests: the largest number is {:g}, so lower --qps or "
                            "--seconds",
                            *given.qps, given.seconds, *given.qps * given.seconds, most_arrivals));
  if (given.batch) refuse_unless_positive("--batch", static_cast<double>(*given.batch));
}

// -- the run ---------------------------------------------------------------------------------------------------------

/// Several data_parallels are made over one model, and each would say the same.
class warnings_once {
 public:
  void print(std::string_view sentence) {
    std::lock_guard lock(mutex_);
    if (said_.emplace(sentence).second) print_warning(sentence);
  }

 private:
  std::mutex mutex_;
  std::set<std::string, std::less<>> said_;
};

/// Shows what an engine does for as long as both are there.
class watching {
 public:
  watching(bench_progress& on, const engine* host) : on_(on) { on_.watch(host); }
  ~watching() { on_.watch(nullptr); }
  watching(const watching&) = delete;
  watching& operator=(const watching&) = delete;

 private:
  bench_progress& on_;
};

load_result run_scenario(data_parallel& net, const bench_request& request, const bench_options& given,
                         std::size_t in_flight) {
  switch (given.scenario) {
    case scenario::offline: return run_offline(net, request, given.seconds, in_flight);
    case scenario::single_stream: return run_single_stream(net, request, given.seconds);
    case scenario::server: return run_server(net, request, given.qps.value(), given.seconds);
  }
  return {};
}

void measure_scenario(const bench_session& session, execution_recorder& recorder, bench_report& report) {
  const auto kind = session.given.scenario;
  session.progress.stage("warming up");
  auto net = session.net_on(session.cores.size());
  const auto request = session.request_for(kind, session.cores.size());
  const auto in_flight = warm_up_and_choose_in_flight(net, request, session.given.seconds);
  session.progress.stage(scenario_name(kind));
  recorder.start();
  report.load = run_scenario(net, request, session.given, in_flight);
  report.request_rows = request.rows;
  report.warnings = net.warnings();
}

void write_timeline(const execution_recorder& recorder, const bench_report& report) {
  const auto most = std::min<std::size_t>(200, 40 * report.cores.size());
  auto picture = middle_of(recorder.bars(report.cores), most);
  picture.title = picture_title(report);
  const auto all = report.executions.executions;
  const auto count = picture.bars.size();
  const auto shown = count == all ? fmt::format("all {} executions", all)
                                  : fmt::format("{} of {} executions, from the middle", count, all);
  picture.subtitle = fmt::format("{}; {}", picture_subtitle(report), shown);
  for (const auto core : report.cores) picture.lanes.push_back(fmt::format("nc:{}", core));
  value_or_throw(
      write_whole_file(report.timeline, [&](std::ostream& file) { file << valid_utf8(timeline_svg(picture)); }));
}

bench_report measure(const bench_options& given, execution_recorder& recorder) {
  bench_progress progress;
  progress.stage("loading the model");
  const auto model = load(given.model, given.loading);
  warnings_once warnings;
  auto settings = command_engine_options();
  settings.log = [&](log_level level, std::string_view sentence) {
    if (level == log_level::warning) warnings.print(sentence);
  };
  settings.on_execution = [&](const execution_record& record) { recorder.add(record); };
  // Of an overloaded server most requests are still waiting at the end, and nobody waits for them.
  settings.shutdown_bound = std::chrono::seconds(1);
  settings.trace_out = given.trace_out;
  engine host(std::move(settings));
  const watching watched{progress, given.watch ? &host : nullptr};
  const bench_session session{given, model, host, progress,
                              value_or_throw(resolve_device_ids(given.device_ids, host.core_count()))};
  bench_report report;
  report.machine = describe_machine();
  report.model = given.model;
  report.recipe = model.recipe();
  report.row_noun = row_noun(model);
  report.compiled_rows = compiled_rows(model);
  report.cores = session.cores;
  report.scenario = given.scenario;
  report.qps = given.qps;
  report.target_p99 = given.target_p99;
  report.timeline = given.timeline;
  if (given.baseline) report.memory = measure_memory_baseline(session);
  if (given.scaling) report.scaling = measure_scaling(session);
  if (given.baseline) {
    report.throughput = measure_throughput_baseline(session);
    report.idle = measure_idle_baseline(session);
  }
  measure_scenario(session, recorder, report);
  return report;
}

void bench(bench_command& given) {
  read(given);
  check_output_paths({given.timeline, given.trace_out}, {given.model});
  execution_recorder recorder;
  auto report = measure(given, recorder);
  // The engine tells of an execution after its answer, but not after its own end, which has come.
  report.executions = recorder.totals();
  if (!report.timeline.empty()) write_timeline(recorder, report);
  if (given.json)
    print_json(to_json(report));
  else
    print_report(report);
}

}  // namespace

void add_bench(CLI::App& app) {
  auto* verb = app.add_subcommand("bench", "Measure a compiled model on random input");
  auto given = std::make_shared<bench_command>();
  add_model(*verb, given->model);
  add_integer(*verb, "--batch", given->batch,
              "Rows a request (default: two compiled batches a core offline, else one row)");
  verb->add_option("--scenario", given->scenario_text,
                   "offline: as many requests at once as keep the cores busy; single-stream: the next when the last "
                   "has ended; server: at random times (default: offline)")
      ->type_name("NAME");
  add_number(*verb, "--qps", given->qps, "Requests a second that arrive on average, for server");
  verb->add_option("--target-p99", given->target_text,
                   "A bound on the 99th percentile of the latencies, such as 15ms: says whether it was held")
      ->type_name("DURATION");
  add_number(*verb, "--seconds", given->seconds_given, "How long each figure is measured (default: 10)");
  add_device_ids(*verb, given->device_ids);
  verb->add_flag("--scaling", given->scaling,
                 "Also one core and then all, and the largest difference from the module run alone");
  verb->add_flag("--baseline", given->baseline,
                 "Also against bare loops over the same program, intra-op threads and a bare ring of threads; memory");
  verb->add_option("--timeline", given->timeline, "Draw the executions of the run into an SVG file")
      ->type_name("FILE");
  add_trace_out(*verb, given->trace_out);
  verb->add_flag("--watch", given->watch, "Show on the terminal what each core and model does meanwhile");
  add_op_libraries(*verb, given->loading);
  add_retune(*verb, given->loading);
  add_json(*verb, given->json);
  verb->callback([given] { bench(*given); });
}

}  // namespace ganglion::command

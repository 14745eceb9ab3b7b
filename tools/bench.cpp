#include "bench_input.hpp"
#include "bench_report.hpp"
#include "chart.hpp"
#include "command.hpp"
#include "timeline_svg.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ganglion::command {

namespace {

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

void write_rates(const bench_report& report) {
  const auto& result = report.result;
  const bool known = !result.search || result.search->found;
  auto picture = rates_chart(result.rates, report.target_p99, known ? result.qps : std::nullopt);
  picture.title = picture_title(report);
  picture.subtitle = picture_subtitle(report);
  write_picture(report.picture, chart_svg(picture));
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
  write_picture(report.timeline, timeline_svg(picture));
}

bench_report measure(const bench_options& given, execution_recorder& recorder) {
  bench_progress progress;
  progress.stage("loading the model");
  const auto model = load(given.model, given.loading);
  warnings_once warnings;  // several data_parallels are made over one model, and each would say the same
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
                              resolve_device_ids(given.device_ids, host.core_count()).value()};
  bench_report report;
  report.machine = describe_machine();
  report.model = given.model;
  report.recipe = model.recipe();
  report.row_noun = row_noun(model);
  report.compiled_rows = compiled_rows(model);
  report.cores = session.cores;
  report.scenario = given.scenario;
  report.seed = given.seed;
  report.target_p99 = given.target_p99;
  report.picture = given.picture;
  report.timeline = given.timeline;
  if (given.baseline) report.memory = measure_memory_baseline(session);
  if (given.scaling) report.scaling = measure_scaling(session);
  if (given.baseline) {
    report.throughput = measure_throughput_baseline(session);
    report.idle = measure_idle_baseline(session);
  }
  report.result = measure_scenario(session, recorder);
  return report;
}

void bench(bench_command& given) {
  read(given);
  check_output_paths({given.picture, given.timeline, given.trace_out}, files_of(given.model, given.loading));
  execution_recorder recorder;
  auto report = measure(given, recorder);
  // The engine tells of an execution after its answer, but not after its own end, which has come.
  report.executions = recorder.totals();
  if (!report.picture.empty()) write_rates(report);
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
  add_number(
      *verb, "--qps", given->qps,
      "Requests a second that arrive on average, for server (default: the highest rate that keeps --target-p99)");
  verb->add_option("--target-p99", given->target_text,
                   "A bound on the 99th percentile of the latencies, such as 15ms: says whether it was held")
      ->type_name("DURATION");
  add_number(
      *verb, "--seconds", given->seconds_given,
      "How long each figure is measured, in three windows, and up to three times as long where they do not agree "
      "within 10 % (default: 10)");
  add_integer(*verb, "--seed", given->seed_given, "Of the arrivals and the made-up input (default: 20190404)");
  add_device_ids(*verb, given->device_ids);
  verb->add_flag("--scaling", given->scaling,
                 "Also one core and then all, and the largest difference from the module run alone");
  verb->add_flag("--baseline", given->baseline,
                 "Also against bare loops, one forward at a time on all threads, a thread pool as torch.neuron "
                 "documents it, and a bare ring of threads; memory");
  verb->add_option("--picture", given->picture, "Draw latency against rate into an SVG file, for server")
      ->type_name("FILE");
  verb->add_option("--timeline", given->timeline, "Draw the executions of the run into an SVG file")->type_name("FILE");
  add_trace_out(*verb, given->trace_out);
  verb->add_flag("--watch", given->watch, "Show on the terminal what each core and model does meanwhile");
  add_op_libraries(*verb, given->loading);
  add_retune(*verb, given->loading);
  add_json(*verb, given->json);
  verb->callback([given] { bench(*given); });
}

}  // namespace ganglion::command

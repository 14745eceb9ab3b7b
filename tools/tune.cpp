#include "bench_input.hpp"
#include "bench_machine.hpp"
#include "bench_options.hpp"
#include "bench_scenario.hpp"
#include "bench_session.hpp"
#include "bench_statistics.hpp"
#include "command.hpp"
#include "tune_choice.hpp"
#include "tune_subject.hpp"

#include <ganglion/engine/cpu_allowance.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

namespace ganglion::command {

namespace {

struct tune_command {
  std::string model;
  load_options loading;
  std::vector<std::string> inputs;
  std::string batches_text = "1,2,4,8,16";
  std::optional<std::string> threads_text;
  std::string cast;
  tune_settings settings;
  std::optional<double> seconds_given;
  std::string picture;
  bool json = false;

  // What is read from them.
  specs arguments;
  std::set<std::int64_t> batches;
  std::set<std::int64_t> threads;
  double seconds = 2;
};

struct tune_report {
  machine_description machine;
  std::string noun;
  std::vector<tune_point> points;
  tune_choice choice;
};

void read(tune_command& given) {
  given.arguments = read_specs(given.inputs);
  for (const auto batch : read_counts("--batches", given.batches_text)) given.batches.insert(batch);
  if (given.seconds_given) given.seconds = *given.seconds_given;
  refuse_bad_seconds("--seconds", given.seconds);
  if (!given.cast.empty()) given.settings.cast = given.cast == "bf16" ? auto_cast::bf16 : auto_cast::none;
  const auto cpus = static_cast<std::int64_t>(read_cpu_allowance().count);
  if (!given.threads_text) {
    given.threads = cpus > 1 ? std::set<std::int64_t>{1, 2} : std::set<std::int64_t>{1};
    return;
  }
  for (const auto count : read_counts("--threads-per-core", *given.threads_text)) {
    if (count > cpus)
      throw error(errc::invalid_argument,
                  fmt::format("--threads-per-core {} is more than the {} that this process may use", count,
                              counted(cpus, "CPU")));
    given.threads.insert(count);
  }
}

/// The model on `session`'s cores: the throughput of all of them, and one batch at a time on one.
tune_point measure(const bench_session& session, const std::string& what) {
  const auto window = session.given.seconds / windows_that_count;
  tune_point point;
  point.cores = session.cores.size();
  point.recipe = session.model.recipe();

  session.progress.stage(fmt::format("{}: throughput", what));
  auto all = session.net_on(session.cores.size());
  const auto request = session.request_for(scenario::offline, session.cores.size());
  const auto in_flight = warm_up_and_choose_in_flight(all, request, session.given.seconds);
  const auto throughput = measure_windows(
      window, [&](std::size_t) { return run_offline(all, request, window, in_flight); },
      [](const load_result& load) { return load.rows_per_second; });

  session.progress.stage(fmt::format("{}: latency", what));
  auto one = session.net_on(1);
  const auto batch = make_request(session.model, compiled_rows(session.model), session.given.seed);
  run_single_stream(one, batch, window / 10);
  const auto latency = measure_windows(
      window, [&](std::size_t) { return run_single_stream(one, batch, window); },
      [](const load_result& load) { return summarize(load.latencies).p50; });
  const auto summary = summarize(latency.load.latencies);
  point.rows_per_second = throughput.load.rows_per_second;
  point.p50 = summary.p50;
  point.p99 = summary.p99;
  point.agreed = throughput.agreed && latency.agreed;
  return point;
}

tune_report measure(const tune_command& given) {
  bench_progress progress;
  progress.stage("loading the model");
  warnings_once warnings;
  tune_subject what{given.model, given.loading, given.arguments, given.settings};
  what.try_programs(given.batches, *given.threads.rbegin(),
                    [&](std::string_view name) {
                      if (!name.empty()) progress.stage(fmt::format("trying {}", name));
                    });
  const auto cpus = read_cpu_allowance().count;
  bench_options measuring;
  measuring.seconds = given.seconds;

  tune_report report;
  report.machine = describe_machine();
  for (const auto threads : given.threads) {
    auto settings = command_engine_options();
    settings.log = [&](log_level level, std::string_view sentence) {
      if (level == log_level::warning) warnings.print(sentence);
    };
    settings.threads_per_core = static_cast<std::size_t>(threads);
    engine host(std::move(settings));
    std::vector<std::size_t> cores(std::min(host.core_count(), cpus / settings.threads_per_core));
    for (std::size_t i = 0; i < cores.size(); ++i) cores[i] = i;
    for (const auto batch : given.batches) {
      const auto name = fmt::format("batch {} on {} of {}", batch,
                                    counted(static_cast<std::int64_t>(cores.size()), "core"),
                                    counted(threads, "thread"));
      progress.stage(name + ": compiling");
      const auto model = what.compile(batch, static_cast<std::size_t>(threads));
      for (const auto& sentence : model.warnings()) warnings.print(sentence);
      report.noun = row_noun(model);
      report.points.push_back(measure({measuring, model, host, progress, cores}, name));
      report.points.back().batch = batch;
      report.points.back().threads_per_core = static_cast<std::size_t>(threads);
    }
  }
  report.choice = recommend(report.points, report.noun);
  return report;
}

// -- what it comes to ------------------------------------------------------------------------------------------------

boost::json::object json_of(const tune_point& p) {
  return {{"batch", p.batch},
          {"cores", p.cores},
          {"threads_per_core", p.threads_per_core},
          {"recipe", p.recipe},
          {"rows_per_second", p.rows_per_second},
          {"latency_ms", {{"p50", 1e3 * p.p50}, {"p99", 1e3 * p.p99}}},
          {"agreed", p.agreed}};
}

boost::json::object json_of(const tune_command& given, const tune_report& r) {
  boost::json::array points;
  for (const auto& p : r.points) points.push_back(json_of(p));
  boost::json::object o{{"model", given.model},
                        {"machine", to_json(r.machine)},
                        {"seconds", given.seconds},
                        {"points", std::move(points)},
                        {"fastest", json_of(r.points[r.choice.fastest])},
                        {"low_latency", json_of(r.points[r.choice.low_latency])},
                        {"reason", r.choice.reason}};
  if (!given.picture.empty()) o["picture"] = given.picture;
  return o;
}

void print(const tune_command& given, const tune_report& r) {
  fmt::print("{:<18}{}\n{:<18}{}\n\n", "model", given.model, "machine", to_text(r.machine));
  fmt::print("{:>7}{:>7}{:>9}  {:<18}{:>14}{:>12}{:>12}\n", "batch", "cores", "threads", "program", r.noun + "s/s",
             "p50, ms", "p99, ms");
  bool all_agreed = true;
  for (const auto& p : r.points) {
    fmt::print("{:>7}{:>7}{:>9}  {:<18}{:>14.2f}{:>12.3f}{:>12.3f}{}\n", p.batch, p.cores, p.threads_per_core, p.recipe,
               p.rows_per_second, 1e3 * p.p50, 1e3 * p.p99, p.agreed ? "" : " *");
    all_agreed = all_agreed && p.agreed;
  }
  if (!all_agreed) fmt::print("* no three windows in a row agree within 10 %\n");
  fmt::print("\n{:<18}{}\n", "recommended", r.choice.reason);
  if (!given.picture.empty()) fmt::print("{:<18}{}\n", "picture", given.picture);
}

void write_chart(const tune_command& given, const tune_report& r) {
  auto picture = tune_chart(r.points, r.choice, r.noun);
  picture.title = std::filesystem::path{given.model}.filename().native();
  picture.subtitle = to_text(r.machine);
  write_picture(given.picture, chart_svg(picture));
}

void tune(tune_command& given) {
  read(given);
  auto sources = files_of(given.model, given.loading);
  sources.insert(sources.end(), given.settings.calibration.begin(), given.settings.calibration.end());
  if (!given.picture.empty()) check_output_path(given.picture, sources);
  const auto report = measure(given);
  if (!given.picture.empty()) write_chart(given, report);
  if (given.json)
    print_json(json_of(given, report));
  else
    print(given, report);
}

}  // namespace

void add_tune(CLI::App& app) {
  auto* verb = app.add_subcommand("tune", "Measure a model compiled for several batch sizes, and recommend one");
  auto given = std::make_shared<tune_command>();
  verb->add_option("MODEL", given->model,
                   "A TorchScript file, with --input; or a model that `ganglion trace` wrote, which says what it takes")
      ->required()
      ->type_name("");
  verb->add_option("--input", given->inputs,
                   "One argument of forward, as f32[1,3,224,224], whose first size gives way to "
                   "each of --batches; repeat it for more arguments")
      ->allow_extra_args(false)
      ->type_name("SPEC");
  verb->add_option("--batches", given->batches_text, "The batch sizes to compile for")
      ->capture_default_str()
      ->type_name("LIST");
  verb->add_option("--threads-per-core", given->threads_text,
                   "The numbers of intra-op threads a core to try, on as many cores as there are CPUs for (default: 1 "
                   "and 2)")
      ->type_name("LIST");
  verb->add_option("--auto-cast", given->cast, "bf16: compute in bfloat16 inside (default: as the model was traced)")
      ->check(CLI::IsMember({"none", "bf16"}));
  add_bf16_bounds(*verb, given->settings.max_deviation, given->settings.calibration, "0.05, or the model's own");
  add_number(*verb, "--seconds", given->seconds_given,
             "How long each figure is measured, two for each row of the table (default: 2)");
  verb->add_option("--picture", given->picture, "Draw throughput and latency against the batch into an SVG file")
      ->type_name("FILE");
  add_op_libraries(*verb, given->loading);
  add_json(*verb, given->json);
  verb->callback([given] { tune(*given); });
}

}  // namespace ganglion::command

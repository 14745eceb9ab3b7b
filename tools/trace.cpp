#include "command.hpp"
#include "examples.hpp"
#include "supervised_trace.hpp"

#include <fmt/format.h>
#include <torch/csrc/jit/api/module.h>

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace ganglion::command {

namespace {

struct trace_command {
  std::string model;
  load_options loading;
  std::vector<std::string> inputs;
  std::vector<std::string> also;
  std::optional<std::string> batches;
  std::string cast = "none";
  bool no_tune = false;
  std::optional<std::int64_t> threads;
  std::optional<double> max_deviation;
  std::vector<std::string> calibration;
  std::string output;

  // What `run_trace` adds.
  /// Whether this is the process that compiles, and says what it goes on with.
  bool watched = false;
  std::map<std::string, std::string> excluded;
  /// Whether nothing is written.
  bool discard = false;
};

/// The arguments of each example: those of --input and of each --also, each with every one of --batches rows.
std::vector<specs> all_specs(const trace_command& given) {
  std::vector<specs> lengths{read_specs(given.inputs)};
  for (const auto& text : given.also) lengths.push_back(read_specs(split(text, ';')));
  if (!given.batches) return lengths;
  const auto batches = read_counts("--batches", *given.batches);
  std::vector<specs> all;
  for (const auto& example : lengths)
    for (auto batch : batches) all.push_back(with_batch(example, batch));
  return all;
}

/// The same options for a process of its own.
std::vector<std::string> options_again(const trace_command& given) {
  std::vector<std::string> call{"--output", given.output, "--auto-cast", given.cast};
  const auto add = [&](const char* name, const std::string& value) { call.insert(call.end(), {name, value}); };
  for (const auto& spec : given.inputs) add("--input", spec);
  for (const auto& specs : given.also) add("--also", specs);
  for (const auto& path : given.calibration) add("--calibration", path);
  for (const auto& path : given.loading.op_libraries) add("--op-library", path.native());
  if (given.batches) add("--batches", *given.batches);
  if (given.threads) add("--threads", std::to_string(*given.threads));
  if (given.max_deviation) add("--max-deviation", fmt::format("{}", *given.max_deviation));
  return call;
}

trace_options options_of(const trace_command& given) {
  trace_options options;
  options.auto_cast = given.cast == "bf16" ? auto_cast::bf16 : auto_cast::none;
  options.tune = !given.no_tune;
  if (given.threads && *given.threads < 1)
    throw error(errc::invalid_argument, fmt::format("--threads is {}: it must be at least 1", *given.threads));
  if (given.threads) options.threads = static_cast<std::size_t>(*given.threads);
  if (given.max_deviation) options.max_deviation = *given.max_deviation;
  options.calibration = read_calibration(given.calibration);
  options.excluded = given.excluded;
  return options;
}

/// Tells the process that watches over this one.
void report(std::string_view name) {
  const auto line = fmt::format("{}\n", name);
  // Where nobody hears it any more, this process is about to be ended.
  [[maybe_unused]] const auto written = ::write(report_descriptor, line.data(), line.size());
}

compiled_model compile(const trace_command& given, std::vector<std::vector<c10::IValue>> examples) {
  auto options = options_of(given);
  std::mutex mutex;
  std::string doing;
  progress_line progress([&, start = std::chrono::steady_clock::now()] {
    std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    std::lock_guard lock(mutex);
    return fmt::format("tracing {}{}, {:.0f} s", given.model, doing, passed.count());
  });
  options.progress = [&](std::string_view name) {
    if (given.watched) report(name);
    std::lock_guard lock(mutex);
    doing = name.empty() ? "" : fmt::format(" (trying {})", name);
  };
  const auto module = load_module(given.model, given.loading);
  auto first = std::move(examples.front());
  options.more_examples.assign(std::make_move_iterator(examples.begin() + 1), std::make_move_iterator(examples.end()));
  auto compiled = trace(module, std::move(first), std::move(options));
  if (!given.discard) save(compiled, given.output);
  return compiled;
}

/// Has it done by a process that may crash or hang.
void watch_over(const trace_command& given) {
  const auto end = run_trace(given.model, options_again(given), /*shown=*/true).last;
  if (end.signal && comes_from_outside(*end.signal)) {
    std::signal(*end.signal, SIG_DFL);
    std::raise(*end.signal);
  }
  if (end.signal || end.exit_status > 2)
    throw error(errc::forward_failed,
                fmt::format("the module ended the process that compiled it {}: run it by itself, in Python, to see where",
                            end.signal ? "by " + signal_text(*end.signal)
                                       : fmt::format("with the exit status {}", end.exit_status)));
  if (end.exit_status != 0) throw said_already{end.exit_status};
}

/// What is not in the help is for the process that `watch_over` starts.
void refuse_hidden_options(const trace_command& given) {
  struct stat reports{};
  const bool heard = ::fstat(report_descriptor, &reports) == 0 && S_ISFIFO(reports.st_mode);
  const bool any = given.watched || given.discard || !given.excluded.empty();
  if (any && !(given.watched && heard))
    throw usage_error("--watched, --exclude and --discard are for the processes that trace starts");
}

void trace_model(const trace_command& given) {
  refuse_hidden_options(given);
  if (!given.no_tune && !given.watched) return watch_over(given);
  // Processes that a module's library starts are not to have it.
  if (given.watched) ::fcntl(report_descriptor, F_SETFD, FD_CLOEXEC);
  std::vector<std::vector<c10::IValue>> examples;
  for (const auto& arguments : all_specs(given)) examples.push_back(example_of(arguments));
  auto read = files_of(given.model, given.loading);
  read.insert(read.end(), given.calibration.begin(), given.calibration.end());
  if (!given.discard) check_output_path(given.output, read);
  const auto compiled = compile(given, std::move(examples));
  if (given.discard) return;
  for (const auto& sentence : compiled.warnings()) print_warning(sentence);
  print_about(given.output, [&] {
    fmt::print("{:<18}{}\n", "compiled", given.output);
    print_model(compiled);
  });
}

}  // namespace

void add_trace(CLI::App& app) {
  auto* verb = app.add_subcommand("trace", "Compile a TorchScript module for the exact shape of an example");
  auto given = std::make_shared<trace_command>();
  verb->add_option("MODEL", given->model, "A TorchScript file, as torch.jit.save writes it")->required()->type_name("");
  verb->add_option("--input", given->inputs,
                   "One argument of forward, as f32[1,3,224,224], with made-up values; repeat it for more arguments")
      ->required()
      ->allow_extra_args(false)
      ->type_name("SPEC");
  verb->add_option("--batches", given->batches,
                   "Compile a program for each of these batch sizes, as 1,8,32, instead of the one in --input")
      ->type_name("LIST");
  verb->add_option("--also", given->also,
                   "Compile for these arguments, too, as 'i64[1,128];i64[1,128]'; repeat it for more sizes")
      ->allow_extra_args(false)
      ->type_name("SPECS");
  verb->add_option("--auto-cast", given->cast, "bf16: compute in bfloat16 inside")
      ->check(CLI::IsMember({"none", "bf16"}))
      ->capture_default_str();
  add_bf16_bounds(*verb, given->max_deviation, given->calibration, "0.05");
  add_integer(*verb, "--threads", given->threads, "Intra-op threads of the cores that will run it (default: 1)");
  add_op_libraries(*verb, given->loading);
  verb->add_flag("--watched", given->watched)->group("");
  verb->add_option("--exclude", given->excluded)->group("");
  verb->add_flag("--discard", given->discard)->group("");
  verb->add_flag("--no-tune", given->no_tune, "Do not time the possible programs: take the frozen module");
  verb->add_option("--output", given->output, "Where to write the compiled model")->required()->type_name("FILE");
  verb->footer("An input's element type is f64, f32, f16, bf16, i8, i16, i32, i64, u8 or bool. Its values are made\n"
               "up: floats from 0 to 1, integers from 0 to 9; always the same ones.");
  verb->callback([given] { trace_model(*given); });
}

}  // namespace ganglion::command

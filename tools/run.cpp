#include "command.hpp"

#include <ganglion/model_io/program_set.hpp>
#include <ganglion/model_io/tensor_file.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <fmt/format.h>

#include <atomic>
#include <chrono>

namespace ganglion::command {

namespace {

namespace fs = std::filesystem;

struct run_command {
  std::string model;
  load_options loading;
  std::vector<std::string> inputs;
  std::string output;
  std::vector<device_id> device_ids;
  std::optional<std::int64_t> dim;
  bool no_dynamic_batching = false;
  std::optional<std::int64_t> split_size;
  std::optional<std::int64_t> num_workers;
  std::vector<double> pad_values;
  std::string trace_out;
  bool json = false;
};

/// What the answer's file and its reader should know of a run.
struct run_report {
  c10::IValue answer;
  std::int64_t rows = 0;
  double seconds = 0;  ///< of the request alone
  std::int64_t executions = 0;
  std::vector<std::size_t> cores;
  std::vector<std::string> warnings;
};

/// Whether forward takes a tuple as its only argument: then a file's tuple is that argument.
bool takes_one_tuple(const signature& sig) { return sig.example.size() == 1 && sig.example[0].isTuple(); }

/// One argument a file; a single file's tuple holds all of them.
std::vector<c10::IValue> read_arguments(const signature& sig, const std::vector<std::string>& files) {
  std::vector<c10::IValue> arguments;
  for (const auto& file : files) arguments.push_back(read_tensor_file(file).value());
  if (arguments.size() == 1 && arguments[0].isTuple() && !takes_one_tuple(sig))
    return arguments[0].toTupleRef().elements().vec();
  return arguments;
}

/// A .npy file holds one tensor: what the model is known to answer is refused before it runs.
void check_output_format(const signature& sig, const fs::path& output) {
  if (is_npy_path(output) && !sig.result.isTensor())
    throw error(errc::invalid_argument,
                fmt::format("'{}' cannot be written: a .npy file holds one tensor, but the model answers a {}: "
                            "name a .pt file",
                            output.native(), describe(sig.result)));
}

data_parallel_options options_of(const run_command& given) {
  if (given.num_workers && *given.num_workers < 1)
    throw error(errc::invalid_argument, fmt::format("num_workers is {}: it must be at least 1", *given.num_workers));
  data_parallel_options options;
  options.device_ids = given.device_ids;
  options.dim = given.dim.value_or(0);
  options.dynamic_batching = !given.no_dynamic_batching;
  options.split_size = given.split_size;
  if (given.num_workers) options.num_workers = static_cast<std::size_t>(*given.num_workers);
  options.pad_values = given.pad_values;
  return options;
}

/// The model on its cores, which each run it a few times before it serves.
data_parallel warmed_up(engine& host, const run_command& given, const compiled_model& model) {
  progress_line progress([&] { return fmt::format("warming up {}", given.model); });
  return data_parallel(host, model, options_of(given));
}

run_report run_on_engine(const run_command& given, const compiled_model& model, std::vector<c10::IValue> arguments) {
  run_report report;
  std::atomic<std::int64_t> rows_done{0};
  auto settings = command_engine_options();
  settings.trace_out = given.trace_out;
  settings.on_execution = [&](const execution_record& record) {
    if (!record.failed) rows_done += record.rows;
  };
  {
    engine host(std::move(settings));
    auto net = warmed_up(host, given, model);
    const auto programs = make_program_set(model, given.dim.value_or(0), given.pad_values).value();
    report.rows = match_inputs(model, programs, arguments).value().rows;
    report.cores = net.cores();

    progress_line progress([&, cores = report.cores.size()] {
      return fmt::format("{} of {} done on {}", rows_done.load(), counted(report.rows, "row"),
                         counted(static_cast<std::int64_t>(cores), "core"));
    });
    const auto start = std::chrono::steady_clock::now();
    auto answer = net.submit(std::move(arguments), {}).get();
    report.answer = std::move(answer.outputs);
    report.executions = answer.timing.executions;
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report.warnings = net.warnings();
  }
  return report;
}

std::vector<tensor_spec> specs_of(const c10::IValue& answer) {
  std::vector<tensor_spec> specs;
  for (const auto& leaf : leaves_of(answer, "output"))
    if (leaf.value.isTensor()) specs.push_back(spec_of(leaf.value.toTensor(), leaf.path));
  return specs;
}

void print_report(const run_command& given, const run_report& report) {
  const auto outputs = specs_of(report.answer);
  if (given.json)
    return print_json({{"rows", report.rows},
                       {"seconds", report.seconds},
                       {"executions", report.executions},
                       {"cores", boost::json::array(report.cores.begin(), report.cores.end())},
                       {"outputs", specs_json(outputs)},
                       {"output", given.output},
                       {"warnings", strings_json(report.warnings)}});
  fmt::print("{} in {:.3f} s, {} on {}\n", counted(report.rows, "row"), report.seconds,
             counted(report.executions, "execution"), counted(static_cast<std::int64_t>(report.cores.size()), "core"));
  print_specs(given.output, outputs);
}

void run_model(const run_command& given) {
  auto read = files_of(given.model, given.loading);
  read.insert(read.end(), given.inputs.begin(), given.inputs.end());
  check_output_path(given.output, read);
  check_output_paths({given.output, given.trace_out}, read);
  const auto model = load_with_progress(given.model, given.loading);
  check_output_format(model.signature(), given.output);
  auto arguments = read_arguments(model.signature(), given.inputs);
  const auto report = run_on_engine(given, model, std::move(arguments));
  write_tensor_file(report.answer, given.output).value();
  print_about(given.output, [&] { print_report(given, report); });
}

}  // namespace

void add_run(CLI::App& app) {
  auto* verb = app.add_subcommand("run", "Run a compiled model data-parallel on the tensors of files");
  auto given = std::make_shared<run_command>();
  add_model(*verb, given->model);
  verb->add_option("--input", given->inputs,
                   "One argument of forward: a tensor file; repeat it for more arguments")
      ->required()
      ->allow_extra_args(false)
      ->type_name("FILE");
  verb->add_option("--output", given->output, "Where the answer goes")
      ->required()
      ->type_name("FILE");
  add_device_ids(*verb, given->device_ids);
  add_integer(*verb, "--dim", given->dim, "The dimension to scatter along; negative counts from the end (default: 0)");
  verb->add_flag("--no-dynamic-batching", given->no_dynamic_batching,
                 "Only take inputs of exactly the compiled size on each core");
  add_integer(*verb, "--split-size", given->split_size, "Rows a chunk (default: the compiled batch size)");
  add_integer(*verb, "--num-workers", given->num_workers, "A cap on the executions in flight (default: none)");
  add_numbers(
      *verb, "--pad-value", given->pad_values,
      "What inputs shorter than a program's are filled up with; one for all tensor inputs, or repeated for each");
  add_trace_out(*verb, given->trace_out);
  add_op_libraries(*verb, given->loading);
  add_retune(*verb, given->loading);
  add_json(*verb, given->json);
  verb->footer("A tensor file holds a tensor or a tuple of tensors as torch.save writes it (.pt), or one tensor as\n"
               "NumPy does (.npy). Where --input is given once, a tuple in its file stands for all arguments, unless\n"
               "forward takes just a tuple. An --output that ends in .npy takes an answer of one tensor; any other is\n"
               "for torch.load.");
  verb->callback([given] { run_model(*given); });
}

}  // namespace ganglion::command

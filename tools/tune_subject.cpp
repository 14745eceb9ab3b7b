#include "tune_subject.hpp"

#include "bench_input.hpp"
#include "command.hpp"
#include "supervised_trace.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ganglion::command {

tune_subject::tune_subject(const std::filesystem::path& model, const load_options& loading, const specs& arguments,
                           const tune_settings& settings)
    : path_(model), loading_(loading), arguments_(arguments), calibration_(settings.calibration) {
  if (!arguments.empty()) {
    module_ = load_module(model, loading);
    example_ = [arguments](std::int64_t rows) { return example_of(with_batch(arguments, rows)); };
  } else {
    const auto compiled = load(model, loading);
    const auto& example = compiled.signature().example;
    module_ = compiled.source();
    if (compiled.recipe().ends_with("+bf16")) options_.auto_cast = auto_cast::bf16;
    options_.max_deviation = compiled.max_deviation();
    options_.excluded = compiled.excluded();
    if (std::all_of(example.begin(), example.end(), [](const auto& argument) { return argument.isTensor(); }))
      arguments_ = compiled.inputs();
    example_ = [compiled](std::int64_t rows) { return random_arguments(compiled, rows, /*seed=*/0); };
  }
  if (settings.cast) options_.auto_cast = *settings.cast;
  if (settings.max_deviation) options_.max_deviation = *settings.max_deviation;
  options_.calibration = read_calibration(calibration_);
}

void tune_subject::try_programs(const std::set<std::int64_t>& batches, std::int64_t threads,
                                const std::function<void(std::string_view)>& tell) {
  if (arguments_.empty()) return;
  std::vector<std::string> call{"--output", "/dev/null", "--discard"};
  const auto add = [&](const char* name, const std::string& value) { call.insert(call.end(), {name, value}); };
  add("--auto-cast", options_.auto_cast == auto_cast::bf16 ? "bf16" : "none");
  add("--max-deviation", fmt::format("{}", options_.max_deviation));
  add("--threads", std::to_string(threads));
  for (const auto& path : calibration_) add("--calibration", path);
  for (const auto& spec : arguments_) add("--input", to_string(spec));
  for (const auto& path : loading_.op_libraries) add("--op-library", path.native());
  const auto smallest = std::to_string(*batches.begin()), largest = std::to_string(*batches.rbegin());
  add("--batches", smallest == largest ? smallest : smallest + "," + largest);
  options_.excluded.merge(run_trace(path_.native(), call, /*shown=*/false, tell).excluded);
}

compiled_model tune_subject::compile(std::int64_t batch, std::size_t threads) const {
  auto options = options_;
  options.threads = threads;
  try {
    return trace(module_, example_(batch), options);
  } catch (const error& e) {
    throw error(e.failure().code, fmt::format("for a batch of {}: {}", batch, e.what()));
  }
}

}  // namespace ganglion::command

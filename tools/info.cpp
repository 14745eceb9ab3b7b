#include "blas_libraries.hpp"
#include "command.hpp"

#include <fmt/format.h>
#include <torch/version.h>

namespace ganglion::command {

namespace {

/// `112 bytes`, `97.5 MiB`.
std::string bytes_text(std::size_t bytes) {
  constexpr double mib = 1 << 20;
  if (bytes < 100'000) return counted(static_cast<std::int64_t>(bytes), "byte");
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / mib);
}

/// `deviation 1e-07, relative L2 3e-08, mean 2e-08, top-1 100 %`.
std::string deviations_text(const boost::json::object& measured) {
  std::vector<std::string> parts;
  const auto add = [&](std::string_view name, const char* text, double unit) {
    const auto* figure = measured.if_contains(name);
    if (figure && figure->is_double())
      parts.push_back(fmt::format(fmt::runtime(text), unit * figure->get_double()));
  };
  add("deviation", "deviation {:.1g}", 1);
  add("relative_l2", "relative L2 {:.2g}", 1);
  add("mean_deviation", "mean {:.1g}", 1);
  add("top1_agreement", "top-1 {:.4g} %", 100);
  add("integer_agreement", "integers {:.4g} %", 100);
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// `2.2 ms (deviation 1e-07, ...)`, or why the program is not used. What is neither, as another writer's, is shown as
/// it is.
std::string measurement_text(const boost::json::value& measured) {
  const auto* object = measured.if_object();
  const auto* seconds = object ? object->if_contains("seconds") : nullptr;
  const auto* deviation = object ? object->if_contains("deviation") : nullptr;
  const auto* rejected = object ? object->if_contains("rejected") : nullptr;
  if (rejected && rejected->is_string()) return fmt::format("rejected ({})", std::string_view(rejected->get_string()));
  if (seconds && seconds->is_double() && deviation && deviation->is_double())
    return fmt::format("{:.3g} ms ({})", 1e3 * seconds->get_double(), deviations_text(*object));
  return boost::json::serialize(measured);
}

/// One line a program: `optimized: 2.2 ms (deviation 0)`.
void print_measurements(const std::string& json) {
  const auto measurements = boost::json::parse(json);
  std::vector<std::string> programs;
  if (measurements.is_object())
    for (const auto& [program, measured] : measurements.get_object())
      programs.push_back(fmt::format("{}: {}", std::string_view(program), measurement_text(measured)));
  if (programs.empty()) programs.push_back("nothing");
  for (std::size_t i = 0; i < programs.size(); ++i) fmt::print("{:<18}{}\n", i == 0 ? "measured" : "", programs[i]);
}

boost::json::value tuned_json(const compiled_model& model) {
  if (!model.tuned()) return nullptr;
  return boost::json::object{{"cpu", model.tuned()->cpu}, {"threads", model.tuned()->threads}};
}

boost::json::array programs_json(const compiled_model& model) {
  boost::json::array programs;
  for (std::size_t i = 0; i < model.program_count(); ++i)
    programs.push_back({{"inputs", specs_json(model.signature(i).inputs)},
                        {"outputs", specs_json(model.signature(i).outputs)},
                        {"recipe", model.recipe(i)},
                        {"measurements", boost::json::parse(model.measurements(i))}});
  return programs;
}

boost::json::object to_json(const std::string& path, const compiled_model& model) {
  const auto& why_not = model.not_eligible();
  return {{"model", path},
          {"inputs", specs_json(model.inputs())},
          {"outputs", specs_json(model.outputs())},
          {"recipe", model.recipe()},
          {"measurements", boost::json::parse(model.measurements())},
          {"tuned", tuned_json(model)},
          {"weight_bytes", model.weight_bytes()},
          {"content_hash", model.content_hash()},
          {"programs", programs_json(model)},
          {"dynamic_batching", why_not.empty()},
          {"not_eligible", why_not.empty() ? boost::json::value() : boost::json::value(why_not)},
          {"warnings", strings_json(model.warnings())},
          {"blas", strings_json(loaded_blas_libraries())},
          {"libtorch", TORCH_VERSION},
          {"ganglion", GANGLION_VERSION}};
}

void show_model(const std::string& path, const load_options& loading, bool json) {
  const auto model = load_with_progress(path, loading);
  for (const auto& sentence : model.warnings()) print_warning(sentence);
  if (json) return print_json(to_json(path, model));
  fmt::print("{:<18}{}\n", "model", path);
  print_model(model);
  const auto blas = loaded_blas_libraries();
  fmt::print("{:<18}{}\n", "BLAS", blas.empty() ? "none" : fmt::format("{}", fmt::join(blas, ", ")));
  fmt::print("{:<18}{}\n", "LibTorch", TORCH_VERSION);
}

}  // namespace

void print_model(const compiled_model& model) {
  for (std::size_t i = 0; i < model.program_count(); ++i) {
    print_specs("inputs", model.signature(i).inputs);
    print_specs("outputs", model.signature(i).outputs);
    fmt::print("{:<18}{}\n", "program", model.recipe(i));
    print_measurements(model.measurements(i));
  }
  if (const auto& tuned = model.tuned())
    fmt::print("{:<18}{}, {}\n", "tuned for", tuned->cpu,
               counted(static_cast<std::int64_t>(tuned->threads), "intra-op thread"));
  const auto& why_not = model.not_eligible();
  fmt::print("{:<18}{}\n", "dynamic batching", why_not.empty() ? "yes" : "no: " + why_not);
  fmt::print("{:<18}{}\n", "weights", bytes_text(model.weight_bytes()));
  fmt::print("{:<18}{}\n", "content hash", model.content_hash());
}

void add_info(CLI::App& app) {
  struct info_command {
    std::string model;
    load_options loading;
    bool json = false;
  };
  auto* verb = app.add_subcommand("info", "Show what a compiled model is, and with which libraries it runs");
  auto given = std::make_shared<info_command>();
  add_model(*verb, given->model);
  add_op_libraries(*verb, given->loading);
  add_retune(*verb, given->loading);
  add_json(*verb, given->json);
  verb->callback([given] { show_model(given->model, given->loading, given->json); });
}

}  // namespace ganglion::command

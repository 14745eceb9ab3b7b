#include "blas_libraries.hpp"
#include "command.hpp"

#include <fmt/format.h>
#include <torch/version.h>

namespace ganglion::command {

namespace {

boost::json::object to_json(const std::string& path, const compiled_model& model) {
  const auto& sig = model.signature();
  return {{"model", path},
          {"inputs", specs_json(model.inputs())},
          {"outputs", specs_json(model.outputs())},
          {"recipe", model.recipe()},
          {"measurements", boost::json::parse(model.measurements())},
          {"weight_bytes", model.weight_bytes()},
          {"content_hash", model.content_hash()},
          {"dynamic_batching", sig.eligible()},
          {"not_eligible", sig.eligible() ? boost::json::value() : boost::json::value(sig.not_eligible)},
          {"warnings", strings_json(model.warnings())},
          {"blas", strings_json(loaded_blas_libraries())},
          {"libtorch", TORCH_VERSION},
          {"ganglion", GANGLION_VERSION}};
}

void show_model(const std::string& path, bool json) {
  const auto model = load(path);
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
  const auto& sig = model.signature();
  print_specs("inputs", model.inputs());
  print_specs("outputs", model.outputs());
  fmt::print("{:<18}{}\n", "program", model.recipe());
  fmt::print("{:<18}{}\n", "measurements", model.measurements());
  fmt::print("{:<18}{}\n", "dynamic batching", sig.eligible() ? "yes" : "no: " + sig.not_eligible);
  fmt::print("{:<18}{:.1f} MiB\n", "weights", static_cast<double>(model.weight_bytes()) / (1 << 20));
  fmt::print("{:<18}{}\n", "content hash", model.content_hash());
}

void add_info(CLI::App& app) {
  struct info_command {
    std::string model;
    bool json = false;
  };
  auto* verb = app.add_subcommand("info", "Show what a compiled model is, and with which libraries it runs");
  auto given = std::make_shared<info_command>();
  add_model(*verb, given->model);
  add_json(*verb, given->json);
  verb->callback([given] { show_model(given->model, given->json); });
}

}  // namespace ganglion::command

#include "command.hpp"

#include <fmt/format.h>
#include <torch/script.h>

#include <chrono>
#include <numeric>

namespace ganglion::command {

namespace {

struct trace_command {
  std::string model;
  load_options loading;
  std::vector<std::string> inputs;
  std::string cast = "none";
  bool no_tune = false;
  std::string output;
};

/// One argument a spec, with made-up values: always the same ones.
std::vector<c10::IValue> example_of(const std::vector<std::string>& inputs) {
  std::vector<tensor_spec> specs;
  double bytes = 0;
  for (const auto& text : inputs) {
    auto spec = parse_tensor_spec(text);
    if (!spec) throw usage_error(spec.error().text);
    bytes += std::accumulate(spec->shape.begin(), spec->shape.end(), static_cast<double>(c10::elementSize(spec->dtype)),
                             [](double product, std::int64_t size) { return product * static_cast<double>(size); });
    specs.push_back(std::move(*spec));
  }
  refuse_more_than_memory(fmt::format("the example {}", fmt::join(inputs, ", ")), bytes, "give smaller sizes");
  std::vector<c10::IValue> example;
  for (const auto& spec : specs) example.emplace_back(random_tensor(spec, /*seed=*/example.size()));
  return example;
}

compiled_model compile(const trace_command& given, std::vector<c10::IValue> example) {
  progress_line progress([&, start = std::chrono::steady_clock::now()] {
    std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    return fmt::format("tracing {}, {:.0f} s", given.model, passed.count());
  });
  trace_options options;
  options.auto_cast = given.cast == "bf16" ? auto_cast::bf16 : auto_cast::none;
  options.tune = !given.no_tune;
  auto compiled = trace(load_module(given.model, given.loading), std::move(example), options);
  save(compiled, given.output);
  return compiled;
}

void trace_model(const trace_command& given) {
  auto example = example_of(given.inputs);
  check_output_path(given.output, {given.model});
  const auto compiled = compile(given, std::move(example));
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
  verb->add_option("--auto-cast", given->cast, "bf16: compute in bfloat16 inside")
      ->check(CLI::IsMember({"none", "bf16"}))
      ->capture_default_str();
  add_op_libraries(*verb, given->loading);
  verb->add_flag("--no-tune", given->no_tune, "Do not time the possible programs: take the frozen module");
  verb->add_option("--output", given->output, "Where to write the compiled model")->required()->type_name("FILE");
  verb->footer("An input's element type is f64, f32, f16, bf16, i8, i16, i32, i64, u8 or bool. Its values are made\n"
               "up: floats from 0 to 1, integers from 0 to 9; always the same ones.");
  verb->callback([given] { trace_model(*given); });
}

}  // namespace ganglion::command

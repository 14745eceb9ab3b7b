#include "command.hpp"

#include <fmt/format.h>
#include <torch/script.h>

#include <charconv>
#include <chrono>
#include <iterator>
#include <numeric>

namespace ganglion::command {

namespace {

struct trace_command {
  std::string model;
  load_options loading;
  std::vector<std::string> inputs;
  std::vector<std::string> also;
  std::string batches;
  std::string cast = "none";
  bool no_tune = false;
  std::string output;
};

using specs = std::vector<tensor_spec>;

specs specs_of(const std::vector<std::string>& texts) {
  specs result;
  for (const auto& text : texts) {
    auto spec = parse_tensor_spec(text);
    if (!spec) throw usage_error(spec.error().text);
    result.push_back(std::move(*spec));
  }
  return result;
}

std::vector<std::string> split(const std::string& list, char at) {
  std::vector<std::string> items;
  for (std::size_t from = 0, end = 0; end != std::string::npos; from = end + 1) {
    end = list.find(at, from);
    items.push_back(list.substr(from, end - from));
  }
  return items;
}

std::vector<std::int64_t> read_batches(const std::string& list) {
  std::vector<std::int64_t> batches;
  if (list.empty()) return batches;
  for (const auto& item : split(list, ',')) {
    std::int64_t size = 0;
    const auto [end, ec] = std::from_chars(item.data(), item.data() + item.size(), size);
    if (ec != std::errc() || end != item.data() + item.size() || size < 1)
      throw usage_error(fmt::format("--batches takes positive whole numbers, as 1,8,32, not '{}'", list));
    batches.push_back(size);
  }
  return batches;
}

/// The arguments of each example: those of --input and of each --also, each with every one of --batches rows.
std::vector<specs> all_specs(const trace_command& given) {
  std::vector<specs> lengths{specs_of(given.inputs)};
  for (const auto& text : given.also) lengths.push_back(specs_of(split(text, ';')));
  const auto batches = read_batches(given.batches);
  if (batches.empty()) return lengths;
  std::vector<specs> all;
  for (const auto& example : lengths)
    for (auto batch : batches) {
      all.push_back(example);
      for (auto& spec : all.back())
        if (!spec.shape.empty()) spec.shape[0] = batch;
    }
  return all;
}

/// One argument a spec, with made-up values: always the same ones.
std::vector<c10::IValue> example_of(const specs& arguments) {
  double bytes = 0;
  std::vector<std::string> texts;
  for (const auto& spec : arguments) {
    bytes += std::accumulate(spec.shape.begin(), spec.shape.end(), static_cast<double>(c10::elementSize(spec.dtype)),
                             [](double product, std::int64_t size) { return product * static_cast<double>(size); });
    texts.push_back(to_string(spec));
  }
  refuse_more_than_memory(fmt::format("the example {}", fmt::join(texts, ", ")), bytes, "give smaller sizes");
  std::vector<c10::IValue> example;
  for (const auto& spec : arguments) example.emplace_back(random_tensor(spec, /*seed=*/example.size()));
  return example;
}

compiled_model compile(const trace_command& given, std::vector<std::vector<c10::IValue>> examples) {
  progress_line progress([&, start = std::chrono::steady_clock::now()] {
    std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    return fmt::format("tracing {}, {:.0f} s", given.model, passed.count());
  });
  trace_options options;
  options.auto_cast = given.cast == "bf16" ? auto_cast::bf16 : auto_cast::none;
  options.tune = !given.no_tune;
  auto first = std::move(examples.front());
  options.more_examples.assign(std::make_move_iterator(examples.begin() + 1), std::make_move_iterator(examples.end()));
  auto compiled = trace(load_module(given.model, given.loading), std::move(first), std::move(options));
  save(compiled, given.output);
  return compiled;
}

void trace_model(const trace_command& given) {
  std::vector<std::vector<c10::IValue>> examples;
  for (const auto& arguments : all_specs(given)) examples.push_back(example_of(arguments));
  check_output_path(given.output, {given.model});
  const auto compiled = compile(given, std::move(examples));
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
  add_op_libraries(*verb, given->loading);
  verb->add_flag("--no-tune", given->no_tune, "Do not time the possible programs: take the frozen module");
  verb->add_option("--output", given->output, "Where to write the compiled model")->required()->type_name("FILE");
  verb->footer("An input's element type is f64, f32, f16, bf16, i8, i16, i32, i64, u8 or bool. Its values are made\n"
               "up: floats from 0 to 1, integers from 0 to 9; always the same ones.");
  verb->callback([given] { trace_model(*given); });
}

}  // namespace ganglion::command

#include <ganglion/model_io/interruptible.hpp>

#include "cpu_type.hpp"
#include "execution.hpp"
#include "graph_check.hpp"
#include "interruption.hpp"
#include "model_state.hpp"
#include "placeholders.hpp"
#include "probe.hpp"
#include "rows.hpp"
#include "signature_json.hpp"
#include "thread_count.hpp"

#include <ganglion/model_io/program_set.hpp>
#include <ganglion/model_io/replica.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <sstream>

namespace ganglion {

namespace jit = torch::jit;

namespace {

/// Refuses what LibTorch would store without its values, or not at all.
void check_weights(const jit::Module& module) {
  for (const auto& [name, tensor] : held_tensors(module)) {
    if (!tensor.defined()) continue;
    if (tensor.is_meta())
      throw error{errc::unsupported_model,
                  fmt::format("the module's {} is on the device meta and has no values: load them first", name)};
    if (tensor.layout() != at::kStrided)
      throw error{errc::unsupported_model, fmt::format("the module's {} has the layout {}: make it dense first", name,
                                                       c10::str(tensor.layout()))};
  }
}

bool is_training(const jit::Module& module) {
  for (const auto& part : module.modules())
    if (part.hasattr("training") && part.is_training()) return true;
  return false;
}

/// A copy with types, code and weights of its own, in eval mode. Writing it out and reading it back also
/// shows now, rather than at `save`, what cannot be stored.
jit::Module own_copy(const jit::Module& module) {
  std::stringstream archive;
  try {
    module.save(archive);
    auto copy = jit::load(archive, at::kCPU);
    copy.eval();
    return copy;
  } catch (const std::exception& e) {
    throw error{errc::unsupported_model,
                fmt::format("the module cannot be stored as TorchScript: {}", brief_message(e))};
  }
}

// --- the example -----------------------------------------------------------------------------------------

[[noreturn]] void bad_example(const std::string& text) { throw error{errc::invalid_argument, text}; }

at::Tensor example_tensor(const at::Tensor& tensor, const std::string& name) {
  if (!tensor.defined()) bad_example(fmt::format("the example of {} is an undefined tensor", name));
  if (tensor.layout() != at::kStrided || tensor.is_quantized() || tensor.is_meta())
    bad_example(fmt::format("the example of {} is not a plain dense tensor", name));
  for (auto size : tensor.sizes())
    if (size == 0)
      bad_example(fmt::format("the example of {} is {}: none of its dimensions may be empty", name,
                              to_string(tensor.scalar_type(), tensor.sizes())));
  return tensor.detach().cpu().contiguous();
}

/// The example's arguments, with plain tensors on the CPU.
std::vector<c10::IValue> example_arguments(const std::vector<c10::IValue>& given,
                                           const std::vector<std::string>& names) {
  std::vector<c10::IValue> arguments;
  bool any_tensor = false;
  for (std::size_t i = 0; i < given.size(); ++i) {
    std::vector<c10::IValue> leaves;
    for (auto& leaf : leaves_of(given[i], names[i])) {
      if (!is_storable(leaf.value))
        bad_example(fmt::format(
            "the example of {} is a {}: tensors, numbers, strings, None and lists of such are what a "
            "model may take",
            leaf.path, describe(leaf.value)));
      any_tensor = any_tensor || leaf.value.isTensor();
      leaves.push_back(leaf.value.isTensor() ? c10::IValue{example_tensor(leaf.value.toTensor(), leaf.path)}
                                             : leaf.value);
    }
    arguments.push_back(with_leaves(given[i], leaves));
  }
  if (!any_tensor) bad_example("the example holds no tensor: there is nothing that could be scattered");
  return arguments;
}

/// The names of forward's arguments for which the example gives values. It may leave those with defaults out.
std::vector<std::string> argument_names(const c10::FunctionSchema& forward, std::size_t given) {
  std::vector<std::string> names;
  std::size_t required = 0;
  for (std::size_t i = 1; i < forward.arguments().size(); ++i) {
    names.push_back(forward.arguments()[i].name());
    if (!forward.arguments()[i].default_value()) required = i;
  }
  if (given < required || given > names.size())
    throw error{
        errc::shape_mismatch,
        fmt::format("the example has {} argument{}, but forward({}) takes {}", given, given == 1 ? "" : "s",
                    fmt::join(names, ", "),
                    required == names.size() ? fmt::format("{}", required)
                                             : fmt::format("{} to {}", required, names.size()))};
  names.resize(given);
  return names;
}

void check_types(const jit::Module& source, const std::vector<c10::IValue>& arguments) {
  std::vector<c10::IValue> stack{source._ivalue()};
  stack.insert(stack.end(), arguments.begin(), arguments.end());
  try {
    source.get_method("forward").function().getSchema().checkAndNormalizeInputs(stack);
  } catch (const std::exception& e) {
    throw error{errc::shape_mismatch, fmt::format("the example does not fit forward: {}", brief_message(e))};
  }
}

// --- the first run ---------------------------------------------------------------------------------------

void check_outputs(const c10::IValue& result) {
  const auto refuse = [](const std::string& text) { throw error{errc::unsupported_model, text}; };
  bool any_tensor = false;
  for (const auto& leaf : leaves_of(result, "output")) {
    if (!is_storable(leaf.value))
      refuse(fmt::format("the {} of the model is a {}", leaf.path, describe(leaf.value)));
    if (!leaf.value.isTensor()) continue;
    any_tensor = true;
    const auto& tensor = leaf.value.toTensor();
    if (!tensor.defined() || tensor.layout() != at::kStrided || tensor.is_quantized() ||
        !tensor.device().is_cpu())
      refuse(fmt::format("the {} of the model is not a plain dense tensor on the CPU", leaf.path));
  }
  if (!any_tensor) refuse(fmt::format("the model returns no tensor (it returns {})", describe(result)));
}

std::vector<std::uint32_t> versions_of(const std::vector<at::Tensor>& tensors) {
  std::vector<std::uint32_t> versions;
  for (const auto& tensor : tensors) versions.push_back(tensor._version());
  return versions;
}

/// Runs the source on copies of the example. What it wrote to shows in the tensors' version counters, which
/// sees more than an analysis of the graph does.
c10::IValue first_run(const jit::Module& source, signature& sig, const std::vector<c10::IValue>& example) {
  std::vector<at::Tensor> inputs, held;
  for (const auto& leaf : example)
    if (leaf.isTensor()) inputs.push_back(leaf.toTensor());
  const auto attributes = held_tensors(source);
  for (const auto& [name, tensor] : attributes) held.push_back(tensor);
  const auto inputs_before = versions_of(inputs), held_before = versions_of(held);

  c10::IValue result;
  try {
    const c10::InferenceMode guard;
    auto module = source;
    result = module.forward(arguments_from(sig, example));
  } catch (const std::exception& e) {
    throw error{errc::forward_failed, fmt::format("the module fails on the example: {}", brief_message(e))};
  }

  sig.writes_inputs = sig.writes_inputs || versions_of(inputs) != inputs_before;
  const auto held_after = versions_of(held);
  for (std::size_t i = 0; i < held.size(); ++i)
    if (held_after[i] != held_before[i])
      throw error{errc::unsupported_model, changes_attribute(attributes[i].first)};
  return result;
}

std::vector<c10::IValue> all_leaves(const std::vector<c10::IValue>& arguments) {
  std::vector<c10::IValue> leaves;
  for (const auto& argument : arguments)
    for (auto& leaf : leaves_of(argument)) leaves.push_back(std::move(leaf.value));
  return leaves;
}

// --- options ---------------------------------------------------------------------------------------------

void check_options(const trace_options& options) {
  check_threads(options.threads);
  if (!(options.max_deviation > 0))
    throw error{errc::invalid_argument,
                fmt::format("max_deviation is {}: it must be above 0", options.max_deviation)};
  for (const auto& [name, reason] : options.excluded)
    if (const auto all = tuned_programs(); std::find(all.begin(), all.end(), name) == all.end())
      throw error{errc::invalid_argument,
                  fmt::format("excluded has '{}', which is no program: it is one of {}", name, fmt::join(all, ", "))};
}

/// Cuts calibration arguments into executions of the compiled size, and adds the leaves of each. Those that do not fit
/// are refused for the first program; others may have other sizes.
void add_calibration(const signature& sig, const std::vector<c10::IValue>& arguments, bool must_fit,
                     std::vector<std::vector<c10::IValue>>& given) {
  const auto rule = make_scatter_rule(sig, 0).value();
  const auto checked = check_inputs(sig, rule, arguments);
  if (!checked && must_fit)
    throw error{errc::invalid_argument,
                fmt::format("the calibration does not fit the example: {}", checked.error().text)};
  if (!checked) return;
  if (must_fit && checked->rows < rule.compiled_size)
    throw error{errc::invalid_argument,
                fmt::format("the calibration has {} rows, but the model is compiled for {}: give at least as many",
                            checked->rows, rule.compiled_size)};
  for (std::int64_t row = 0; row + rule.compiled_size <= checked->rows; row += rule.compiled_size)
    given.push_back(with_rows_changed(checked->leaves, [&](std::size_t, const at::Tensor& t) {
      return t.narrow(0, row, rule.compiled_size).contiguous();
    }));
}

/// Compiles the source for one example more.
void add_program(program_builder& builder, std::vector<compiled_program>& programs,
                 const std::vector<c10::IValue>& given, const trace_options& options) {
  go_on(builder.stop());
  const auto& source = builder.source();
  signature sig;
  sig.argument_names = argument_names(source.get_method("forward").function().getSchema(), given.size());
  const auto arguments = example_arguments(given, sig.argument_names);
  check_types(source, arguments);
  const auto leaves = all_leaves(arguments);
  for (const auto& argument : arguments) sig.example.push_back(with_placeholders(argument));
  for (const auto& leaf : leaves)
    if (leaf.isTensor()) sig.ranges.push_back(range_of(leaf.toTensor()));

  const tuning how{options.threads, options.max_deviation, options.excluded, options.progress};
  const bool may_freeze = !options.excluded.contains("frozen");
  if (may_freeze) how.goes_on_with("frozen");
  sig.writes_inputs = check_graph(source, may_freeze).value().writes_inputs;
  how.goes_on_with({});
  const auto result = first_run(source, sig, cloned(leaves));
  check_outputs(result);
  sig.result = with_placeholders(result);
  name_tensors(sig);
  sig.not_eligible = probe_rows(source, sig, builder.stop());
  for (const auto& other : programs)
    if (auto fits = check_beside(other.signature, sig); !fits) throw error{fits.error()};
  program_request request{builder, sig, {leaves}, how};
  for (const auto& arguments : options.calibration) add_calibration(sig, arguments, programs.empty(), request.given);
  auto chosen = (options.tune ? fastest_program(request) : safe_program(request)).value();
  programs.push_back({std::move(sig), std::move(chosen)});
}

compiled_model traced(const jit::Module& module, const std::vector<c10::IValue>& given,
                      const trace_options& options, std::stop_token stop) {
  check_options(options);
  if (!module.find_method("forward"))
    throw error{errc::unsupported_model, "the module has no method forward"};
  check_weights(module);
  std::vector<std::string> warnings;
  if (is_training(module))
    warnings.push_back("the module was in training mode; it was traced in eval mode");
  program_builder builder{own_copy(module), options.auto_cast, std::move(stop)};
  std::vector<compiled_program> programs;
  add_program(builder, programs, given, options);
  for (const auto& example : options.more_examples) add_program(builder, programs, example, options);
  program_policy policy{options.auto_cast, options.max_deviation, {}};
  if (options.tune) policy.tuned = {cpu_type(), options.threads};
  return compiled_model{
      assemble(builder.source(), std::move(policy), std::move(programs), std::move(warnings))};
}

}  // namespace

compiled_model trace(const jit::Module& module, std::vector<c10::IValue> example_inputs, trace_options options) {
  return trace(module, std::move(example_inputs), std::move(options), {});
}

compiled_model trace(const jit::Module& module, std::vector<c10::IValue> example_inputs, trace_options options,
                     std::stop_token stop) {
  // Weights read in a caller's inference mode would be inference tensors, without the version counters asked
  // above.
  const c10::InferenceMode off{false};
  try {
    return traced(module, example_inputs, options, std::move(stop));
  } catch (const interrupted&) {
    throw error{errc::cancelled, "the trace was cancelled"};
  } catch (const error&) {
    throw;
  } catch (const std::exception& e) {
    throw error{errc::unsupported_model, fmt::format("the module cannot be compiled: {}", brief_message(e))};
  }
}

}  // namespace ganglion

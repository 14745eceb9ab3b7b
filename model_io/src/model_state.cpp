#include "model_state.hpp"

#include "cpu_type.hpp"
#include "fused/fused_graph.hpp"
#include "graph_check.hpp"
#include "manifest.hpp"
#include "signature_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>

namespace ganglion {

namespace {

/// The distinct storages among the programs' constants, since that is where freezing puts the weights; a packed
/// (opaque) tensor counts with its elements, and what oneDNN packed for fused operators in all its layouts. A program
/// that was not frozen has its weights in the module instead. Operators that keep packed copies inside of an object of
/// theirs are not seen.
std::size_t weight_bytes_of(const std::vector<compiled_program>& programs) {
  std::map<const void*, std::size_t> storages;
  const auto add = [&](const at::Tensor& tensor) {
    if (tensor.has_storage())
      storages[tensor.storage().unsafeGetStorageImpl()] = tensor.storage().nbytes();
    else
      storages[tensor.unsafeGetTensorImpl()] = static_cast<std::size_t>(tensor.numel()) * tensor.itemsize();
  };
  for (const auto& [sig, made] : programs) {
    for (const auto& tensor : constant_tensors(*made.module.get_method("forward").graph())) add(tensor);
    for (const auto& [name, tensor] : held_tensors(made.module)) add(tensor);
    for (const auto& weights : fused_weights(*made.module.get_method("forward").graph()))
      storages[weights.get()] = weights->bytes();
  }
  std::size_t bytes = 0;
  for (const auto& [storage, size] : storages) bytes += size;
  return bytes;
}

void add_once(std::vector<std::string>& sentences, const std::string& sentence) {
  if (std::find(sentences.begin(), sentences.end(), sentence) == sentences.end()) sentences.push_back(sentence);
}

}  // namespace

std::shared_ptr<const compiled_model::state> assemble(torch::jit::Module source, program_policy policy,
                                                      std::vector<compiled_program> programs,
                                                      std::vector<std::string> warnings,
                                                      const std::vector<std::string>& here) {
  static std::atomic<std::uint64_t> next_id{1};
  const auto text = attribute_text(programs, policy.cast);
  auto state = std::make_shared<compiled_model::state>();
  state->id = next_id++;
  state->content_hash = content_hash(source, text);
  source.register_attribute(signature_attribute, c10::StringType::get(), text);
  state->weight_bytes = weight_bytes_of(programs);
  state->source = std::move(source);
  state->programs = std::move(programs);
  state->policy = std::move(policy);
  state->stored_warnings = std::move(warnings);
  for (const auto& [sig, made] : state->programs)
    for (const auto& sentence : made.warnings) add_once(state->stored_warnings, sentence);
  state->warnings = state->stored_warnings;
  for (const auto& sentence : here) add_once(state->warnings, sentence);
  if (state->policy.cast == auto_cast::bf16 && !cpu_has_bf16())
    add_once(state->warnings,
             fmt::format("the model computes in bf16, for which this CPU ({}) has no instructions: traced without "
                         "auto_cast it is as a rule faster here",
                         cpu_type()));
  state->source.register_attribute(manifest_attribute, c10::StringType::get(), manifest_of(*state));
  return state;
}

std::size_t compiled_model::program_count() const { return state_->programs.size(); }
const std::vector<tensor_spec>& compiled_model::inputs() const { return signature().inputs; }
const std::vector<tensor_spec>& compiled_model::outputs() const { return signature().outputs; }
const signature& compiled_model::signature(std::size_t program) const { return state_->programs[program].signature; }
const std::string& compiled_model::not_eligible() const {
  for (const auto& [sig, made] : state_->programs)
    if (!sig.eligible()) return sig.not_eligible;
  return signature().not_eligible;
}
const std::string& compiled_model::recipe(std::size_t program) const {
  return state_->programs[program].program.recipe;
}
const std::vector<std::string>& compiled_model::warnings() const { return state_->warnings; }
const std::string& compiled_model::measurements(std::size_t program) const {
  return state_->programs[program].program.measurements;
}
std::map<std::string, std::string> compiled_model::excluded(std::size_t program) const {
  return excluded_in(measurements(program));
}
double compiled_model::max_deviation() const { return state_->policy.max_deviation; }
const std::optional<tuned_for>& compiled_model::tuned() const { return state_->policy.tuned; }
const std::string& compiled_model::content_hash() const { return state_->content_hash; }
std::size_t compiled_model::weight_bytes() const { return state_->weight_bytes; }
std::uint64_t compiled_model::id() const { return state_->id; }
const torch::jit::Module& compiled_model::source() const { return state_->source; }

}  // namespace ganglion

#include "model_state.hpp"

#include "graph_check.hpp"
#include "manifest.hpp"
#include "signature_json.hpp"

#include <atomic>
#include <map>

namespace ganglion {

namespace {

/// The distinct storages among the program's constants, since that is where freezing puts the weights; a
/// packed (opaque) tensor counts with its elements. A program that was not frozen has its weights in the
/// module instead. Operators that keep packed copies inside of an object of theirs are not seen.
std::size_t weight_bytes_of(const torch::jit::Module& program) {
  std::map<const void*, std::size_t> storages;
  const auto add = [&](const at::Tensor& tensor) {
    if (tensor.has_storage())
      storages[tensor.storage().unsafeGetStorageImpl()] = tensor.storage().nbytes();
    else
      storages[tensor.unsafeGetTensorImpl()] = static_cast<std::size_t>(tensor.numel()) * tensor.itemsize();
  };
  for (const auto& tensor : constant_tensors(*program.get_method("forward").graph())) add(tensor);
  for (const auto& [name, tensor] : held_tensors(program)) add(tensor);
  std::size_t bytes = 0;
  for (const auto& [storage, size] : storages) bytes += size;
  return bytes;
}

}  // namespace

std::shared_ptr<const compiled_model::state> assemble(torch::jit::Module source, signature sig,
                                                      auto_cast cast, program chosen,
                                                      std::vector<std::string> warnings) {
  static std::atomic<std::uint64_t> next_id{1};
  const auto text = attribute_text(sig, cast);
  auto state = std::make_shared<compiled_model::state>();
  state->id = next_id++;
  state->content_hash = content_hash(source, text);
  source.register_attribute(signature_attribute, c10::StringType::get(), text);
  state->weight_bytes = weight_bytes_of(chosen.module);
  state->source = std::move(source);
  state->program = std::move(chosen.module);
  state->recipe = std::move(chosen.recipe);
  state->cast = cast;
  state->signature = std::move(sig);
  state->warnings = std::move(warnings);
  state->warnings.insert(state->warnings.end(), chosen.warnings.begin(), chosen.warnings.end());
  state->measurements = std::move(chosen.measurements);
  state->source.register_attribute(manifest_attribute, c10::StringType::get(), manifest_of(*state));
  return state;
}

const std::vector<tensor_spec>& compiled_model::inputs() const { return state_->signature.inputs; }
const std::vector<tensor_spec>& compiled_model::outputs() const { return state_->signature.outputs; }
const ganglion::signature& compiled_model::signature() const { return state_->signature; }
const std::string& compiled_model::recipe() const { return state_->recipe; }
const std::vector<std::string>& compiled_model::warnings() const { return state_->warnings; }
const std::string& compiled_model::measurements() const { return state_->measurements; }
const std::string& compiled_model::content_hash() const { return state_->content_hash; }
std::size_t compiled_model::weight_bytes() const { return state_->weight_bytes; }
std::uint64_t compiled_model::id() const { return state_->id; }
const torch::jit::Module& compiled_model::source() const { return state_->source; }

}  // namespace ganglion

#include "model_state.hpp"

#include "graph_check.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <fmt/format.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <map>
#include <sstream>
#include <unordered_map>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ganglion {

namespace jit = torch::jit;

namespace {

class hasher {
 public:
  hasher() { XXH3_128bits_reset(&state_); }

  void bytes(const void* data, std::size_t size) { XXH3_128bits_update(&state_, data, size); }

  void number(std::uint64_t value) { bytes(&value, sizeof value); }

  void text(std::string_view value) {
    number(value.size());
    bytes(value.data(), value.size());
  }

  void tensor(const at::Tensor& tensor) {
    text(to_string(tensor.scalar_type(), tensor.sizes()));
    const auto whole = tensor.detach().cpu().contiguous();
    bytes(whole.data_ptr(), whole.nbytes());
  }

  /// Non-tensor leaves count as the text that names them.
  void value(const c10::IValue& tree) {
    for (const auto& leaf : leaves_of(tree)) {
      text(leaf.path);
      if (leaf.value.isTensor() && leaf.value.toTensor().defined())
        tensor(leaf.value.toTensor());
      else if (leaf.value.isString())
        text(leaf.value.toStringRef());
      else
        text(leaf_text(leaf.value));
    }
  }

  std::string hex() const {
    const auto hash = XXH3_128bits_digest(&state_);
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
  }

 private:
  XXH3_state_t state_{};
};

/// What Ganglion and its Python face wrote into the module themselves.
bool is_ours(const std::string& name) { return name.starts_with("ganglion_"); }

void hash_attribute(hasher& hash, const std::string& name, const c10::IValue& value) {
  hash.text(name);
  if (!value.isModule()) return hash.value(value);
  const jit::Module module{value.toObject()};
  // By name: archives do not keep the order of attributes.
  std::map<std::string, c10::IValue> attributes;
  for (std::size_t slot = 0; slot < module.type()->numAttributes(); ++slot)
    if (const auto& inner = module.type()->getAttributeName(slot); !is_ours(inner))
      attributes[inner] = module._ivalue()->getSlot(slot);
  hash.number(attributes.size());
  for (const auto& [child, inner] : attributes) hash_attribute(hash, child, inner);
}

/// Hashes a graph by its operators and who feeds whom. Values are numbered where they are made, and a
/// constant counts where it is used: names and the places of constants change when code is written out and
/// read again.
class graph_hasher {
 public:
  explicit graph_hasher(hasher& hash) : hash_(hash) {}

  void block(const jit::Block* block) {
    for (const jit::Value* input : block->inputs()) define(input);
    for (const jit::Node* node : block->nodes())
      if (node->kind() != c10::prim::Constant) this->node(node);
    for (const jit::Value* output : block->outputs()) use(output);
  }

 private:
  void define(const jit::Value* value) { numbers_.emplace(value, numbers_.size()); }

  void use(const jit::Value* value) {
    if (value->node()->kind() != c10::prim::Constant) return hash_.number(numbers_.at(value));
    hash_.text("constant");
    if (const auto constant = jit::toIValue(value)) hash_.value(*constant);
  }

  void node(const jit::Node* node) {
    hash_.text(node->kind().toQualString());
    for (const auto name : node->attributeNames())
      if (node->kindOf(name) == jit::AttributeKind::s) hash_.text(node->s(name));
    hash_.number(node->inputs().size());
    for (const jit::Value* input : node->inputs()) use(input);
    for (const jit::Block* inner : node->blocks()) block(inner);
    for (const jit::Value* output : node->outputs()) define(output);
  }

  hasher& hash_;
  std::unordered_map<const jit::Value*, std::uint64_t> numbers_;
};

}  // namespace

std::string content_hash(const jit::Module& source, const std::string& signature_text) {
  hasher hash;
  hash_attribute(hash, "", source._ivalue());
  const auto graph = source.get_method("forward").graph()->copy();
  jit::Inline(*graph);
  graph_hasher{hash}.block(graph->block());
  hash.text(signature_text);
  return hash.hex();
}

}  // namespace ganglion

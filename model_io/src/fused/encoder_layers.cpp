#include "encoder_layers.hpp"

#include <fmt/format.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/jit.h>

#include <optional>
#include <string_view>
#include <vector>

namespace ganglion {

namespace jit = torch::jit;

namespace {

// "Attention is all you need", section 3.1, as torch.nn.TransformerEncoderLayer has it.
constexpr std::string_view code = R"(
def attention(x, heads: int, qkv_w, qkv_b, out_w, out_b):
  rows, length, width = x.size(0), x.size(1), x.size(2)
  qkv = torch.linear(x, qkv_w, qkv_b).reshape(rows, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
  q = qkv[0] * (float(width // heads) ** -0.5)
  weights = torch.softmax(torch.matmul(q, qkv[1].transpose(2, 3)), 3)
  return torch.linear(torch.matmul(weights, qkv[2]).transpose(1, 2).reshape(rows, length, width), out_w, out_b)

def feed_forward(x, in_w, in_b, out_w, out_b):
  return torch.linear(torch.{activation}(torch.linear(x, in_w, in_b)), out_w, out_b)

def layer(x, width: int, heads: int, qkv_w, qkv_b, proj_w, proj_b, eps: float, n1_w, n1_b, n2_w, n2_b,
          in_w, in_b, out_w, out_b):
{body}
)";

constexpr std::string_view norm_last = R"(
  x = torch.layer_norm(x + attention(x, heads, qkv_w, qkv_b, proj_w, proj_b), [width], n1_w, n1_b, eps)
  return torch.layer_norm(x + feed_forward(x, in_w, in_b, out_w, out_b), [width], n2_w, n2_b, eps)
)";

constexpr std::string_view norm_first = R"(
  x = x + attention(torch.layer_norm(x, [width], n1_w, n1_b, eps), heads, qkv_w, qkv_b, proj_w, proj_b)
  return x + feed_forward(torch.layer_norm(x, [width], n2_w, n2_b, eps), in_w, in_b, out_w, out_b)
)";

std::optional<bool> flag(const jit::Node* node, const char* name) {
  const auto known = jit::toIValue(node->namedInput(name));
  return known && known->isBool() ? std::optional{known->toBool()} : std::nullopt;
}

bool has_mask(const jit::Node* node) {
  const auto mask = jit::toIValue(node->namedInput("mask"));
  return !mask || !mask->isNone();
}

/// The graph of a layer's operators.
std::shared_ptr<jit::Graph> operators(bool gelu, bool norms_first) {
  const auto unit = jit::compile(fmt::format(fmt::runtime(code), fmt::arg("activation", gelu ? "gelu" : "relu"),
                                             fmt::arg("body", norms_first ? norm_first : norm_last)));
  auto graph = jit::toGraphFunction(unit->get_function("layer")).graph()->copy();
  jit::Inline(*graph);
  jit::EliminateDeadCode(graph);
  return graph;
}

void write_out(jit::Graph& graph, jit::Node* node) {
  const auto gelu = flag(node, "use_gelu"), norms_first = flag(node, "norm_first");
  if (!gelu || !norms_first || has_mask(node)) return;
  std::vector<jit::Value*> inputs;
  for (const auto* name : {"src", "embed_dim", "num_heads", "qkv_weight", "qkv_bias", "proj_weight", "proj_bias", "eps",
                           "norm_weight_1", "norm_bias_1", "norm_weight_2", "norm_bias_2", "ffn_weight_1", "ffn_bias_1",
                           "ffn_weight_2", "ffn_bias_2"})
    inputs.push_back(node->namedInput(name));
  const jit::WithInsertPoint here{node};
  const auto results = jit::insertGraph(graph, *operators(*gelu, *norms_first), inputs);
  node->output()->replaceAllUsesWith(results.at(0));
  node->destroy();
}

}  // namespace

void write_out_encoder_layers(jit::Graph& graph) {
  static const auto kind = c10::Symbol::fromQualString("aten::_transformer_encoder_layer_fwd");
  std::vector<jit::Node*> layers;
  for (auto* node : graph.nodes())
    if (node->kind() == kind) layers.push_back(node);
  for (auto* node : layers) write_out(graph, node);
}

}  // namespace ganglion

#include "program_builder.hpp"

#include "channels_last.hpp"
#include "execution.hpp"
#include "fused/encoder_layers.hpp"
#include "rows.hpp"

#include <c10/core/GradMode.h>
#include <torch/version.h>

#include <algorithm>
#include <array>

namespace ganglion {

namespace jit = torch::jit;

namespace {

std::string_view suffix(auto_cast cast) { return cast == auto_cast::bf16 ? "+bf16" : ""; }

/// Of optimize_for_inference: with LibTorch 2.6 it hangs for some models (docs/decisions/0027).
constexpr bool optimizing_is_safe = TORCH_VERSION_MAJOR == 1 && TORCH_VERSION_MINOR == 13;

jit::Module cast_copy(const jit::Module& source, auto_cast cast) {
  if (cast == auto_cast::none) return source;
  // A type of its own: the source's gets attributes later on, which the copy would lack.
  auto copy = source.deepcopy().clone();
  copy.to(at::kBFloat16);
  return copy;
}

}  // namespace

std::string recipe_of(std::string_view kind, auto_cast cast) { return std::string(kind).append(suffix(cast)); }

std::string_view kind_of(std::string_view recipe) { return recipe.substr(0, recipe.find('+')); }

std::span<const std::string_view> tuned_programs() {
  static constexpr std::array<std::string_view, 6> all{"as_is",     "frozen", "channels_last",
                                                       "optimized", "onednn", "winograd"};
  return all;
}

bool is_recipe(std::string_view recipe, auto_cast cast) {
  const auto kind = kind_of(recipe);
  const auto tuned = tuned_programs();
  return std::find(tuned.begin(), tuned.end(), kind) != tuned.end() && recipe == recipe_of(kind, cast);
}

jit::Module program_builder::module(std::string_view kind, const signature& sig) {
  const at::NoGradGuard guard;
  if (kind == "onednn" || kind == "winograd") return fused(sig, kind == "winograd");
  if (auto found = made_.find(kind); found != made_.end()) return found->second;
  return made_.emplace(kind, made(kind, sig)).first->second;
}

jit::Module program_builder::made(std::string_view kind, const signature& sig) {
  if (kind == "as_is") return cast_copy(source_, cast_);
  if (kind == "frozen") return jit::freeze(module("as_is", sig));
  if (kind == "optimized") {
    if (!optimizing_is_safe) throw std::runtime_error{"it is known to end with LibTorch 1.13 alone"};
    auto frozen = jit::freeze(module("as_is", sig));
    return jit::optimize_for_inference(frozen);
  }
  auto copy = module("frozen", sig).clone();
  use_channels_last(*copy.get_method("forward").graph(), sig);
  return copy;
}

jit::Module program_builder::fused(const signature& sig, bool winograd) {
  auto copy = module("frozen", sig).clone();
  auto& graph = *copy.get_method("forward").graph();
  write_out_encoder_layers(graph);
  const auto arguments = execution{copy, sig, cast_}.stack_of(made_leaves(sig, 1));
  fuse(graph, arguments, winograd ? winograd_weights_ : weights_, winograd);
  return copy;
}

}  // namespace ganglion

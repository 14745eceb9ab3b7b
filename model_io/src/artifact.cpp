#include <ganglion/model_io/interruptible.hpp>

#include "archive.hpp"
#include "cpu_type.hpp"
#include "interruption.hpp"
#include "manifest.hpp"
#include "model_state.hpp"
#include "signature_json.hpp"
#include "thread_count.hpp"

#include <ganglion/model_io/program_set.hpp>
#include <ganglion/model_io/replica.hpp>
#include <ganglion/model_io/whole_file.hpp>

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <ostream>
#include <sstream>

namespace ganglion {

namespace fs = std::filesystem;
namespace jit = torch::jit;

namespace {

void check_signature(const std::string& subject, const jit::Module& module, const signature& sig) {
  try {
    std::vector<c10::IValue> stack{module._ivalue()};
    stack.insert(stack.end(), sig.example.begin(), sig.example.end());
    module.get_method("forward").function().getSchema().checkAndNormalizeInputs(stack);
  } catch (const std::exception& e) {
    throw load_error(subject,
                     fmt::format("has a signature that does not fit its forward: {}", brief_message(e)));
  }
  if (sig.pipeline_cores != 1)
    throw error{
        errc::unsupported_model,
        fmt::format(
            "{} was compiled with NeuronCore Pipeline for {} cores, which is not supported: compile it for "
            "one core",
            subject, sig.pipeline_cores)};
}

std::vector<signature> read_signatures(const std::string& subject, const jit::Module& module,
                                       const std::string& text) {
  const auto& forward = module.get_method("forward").function().getSchema();
  std::vector<c10::TypePtr> types;
  for (std::size_t i = 1; i < forward.arguments().size(); ++i) types.push_back(forward.arguments()[i].type());
  auto all = signatures_from_attribute(text, types, forward.returns().at(0).type());
  if (!all) throw load_error(subject, fmt::format("cannot be loaded: {}", all.error().text));
  for (std::size_t i = 0; i < all->size(); ++i) {
    check_signature(subject, module, (*all)[i]);
    for (std::size_t j = 0; j < i; ++j)
      if (auto fits = check_beside((*all)[j], (*all)[i]); !fits)
        throw load_error(subject, fmt::format("has signatures that do not go together: {}", fits.error().text));
  }
  return std::move(*all);
}

auto_cast cast_of(const std::string& subject, const std::string& signature_text) {
  const auto cast = cast_from_attribute(signature_text);
  if (!cast) throw load_error(subject, fmt::format("cannot be loaded: {}", cast.error().text));
  return *cast;
}

void check_hash(const std::string& subject, const manifest& made, const jit::Module& module,
                const std::string& signature_text) {
  if (const auto hash = content_hash(module, signature_text); hash != made.content_hash)
    throw load_error(
        subject,
        fmt::format("has the content hash {}, but {} was recorded: it was changed or damaged after it was "
                    "traced; trace it again",
                    hash, made.content_hash));
}

bool is_traced(const jit::Module& module) {
  return module.find_method("forward") && module.hasattr(signature_attribute) &&
         module.attr(signature_attribute).isString();
}

/// The manifest that travels inside of the module, where it has one.
std::optional<std::string> manifest_in(const jit::Module& module) {
  if (!module.hasattr(manifest_attribute) || !module.attr(manifest_attribute).isString()) return {};
  return module.attr(manifest_attribute).toStringRef();
}

/// Whether programs that were timed elsewhere are to be chosen anew; else it is a warning that they were.
bool tune_again(const std::string& subject, program_policy& policy, const load_options& options,
                std::vector<std::string>& warnings) {
  if (!policy.tuned) return false;
  const tuned_for here{cpu_type(), options.threads.value_or(policy.tuned->threads)};
  if (*policy.tuned == here) return false;
  if (options.retune) {
    policy.tuned = here;
    return true;
  }
  warnings.push_back(fmt::format(
      "{} was tuned on {} with {} intra-op thread(s), and this is {} with {}: other programs may be faster here; trace "
      "it again, or load it with `retune` (--retune)",
      subject, policy.tuned->cpu, policy.tuned->threads, here.cpu, here.threads));
  return false;
}

/// Builds the program of a traced module anew, as the manifest says it was made. Without one only the cast is known.
compiled_model rebuilt(const std::string& subject, jit::Module module,
                       const std::optional<std::string>& manifest_text, const load_options& options = {},
                       std::stop_token stop = {}) {
  const auto text = module.attr(signature_attribute).toStringRef();
  auto signatures = read_signatures(subject, module, text);
  manifest made;
  if (manifest_text) {
    made = read_manifest(subject, *manifest_text);
    check_hash(subject, made, module, text);
    // The hash covers the attribute only.
    if (const auto cast = cast_of(subject, text); cast != made.policy.cast)
      throw load_error(subject, fmt::format("has the auto_cast {} in its manifest, but {} in its signature: it was "
                                         "changed or damaged after it was traced; trace it again",
                                         cast_name(made.policy.cast), cast_name(cast)));
  } else {
    made.policy.cast = cast_of(subject, text);
  }
  if (manifest_text && made.programs.size() != signatures.size())
    throw load_error(subject,
                     fmt::format("has {} programs in its manifest, but {} signatures: it was changed or damaged "
                                 "after it was traced; trace it again",
                                 made.programs.size(), signatures.size()));
  made.programs.resize(signatures.size());
  auto& policy = made.policy;
  std::vector<std::string> here;
  const auto retune = tune_again(subject, policy, options, here);
  const auto threads = options.threads.value_or(policy.tuned ? policy.tuned->threads : 1);
  program_builder builder{module, policy.cast, std::move(stop)};
  std::vector<compiled_program> programs;
  for (std::size_t i = 0; i < signatures.size(); ++i) {
    auto& entry = made.programs[i];
    // What crashed or hung where the model was traced is not tried here either.
    const program_request request{
        builder, signatures[i], {}, {threads, policy.max_deviation, excluded_in(entry.measurements)}};
    auto chosen = retune ? fastest_program(request).value() : rebuild_program(request, entry.recipe).value();
    if (!retune) chosen.measurements = std::move(entry.measurements);
    programs.push_back({std::move(signatures[i]), std::move(chosen)});
  }
  return compiled_model{assemble(module, std::move(policy), std::move(programs), std::move(made.warnings), here)};
}

compiled_model loaded(const fs::path& path, const load_options& options) {
  auto [module, manifest_text] = read_archive(path, options);
  if (!module.find_method("forward"))
    throw load_error(path, "has no method forward: trace a module that has one");
  if (!is_traced(module))
    throw load_error(
        path,
        fmt::format("is plain TorchScript and was never traced by Ganglion: run `ganglion trace {} --input "
                    "SPEC --output OUT.pt`, or call ganglion::trace, first",
                    path.native()));
  module.eval();
  if (!manifest_text) manifest_text = manifest_in(module);
  return rebuilt(fmt::format("'{}'", path.native()), std::move(module), manifest_text, options);
}

}  // namespace

void save(const compiled_model& model, const fs::path& path) {
  const auto& state = model.internals();
  // Into memory first: LibTorch's writer ends the process when a stream fails while it cleans up.
  std::ostringstream archive;
  try {
    state.source.save(archive, {{manifest_file, manifest_of(state)}});
  } catch (const std::exception& e) {
    throw error{errc::io_failed, fmt::format("'{}' cannot be written: {}", path.native(), brief_message(e))};
  }
  write_whole_file(path, [&](std::ostream& out) { out << archive.view(); }).value();
}

compiled_model load(const fs::path& path, load_options options) {
  check_threads(options.threads.value_or(1));
  const c10::InferenceMode off{false};
  try {
    return loaded(path, options);
  } catch (const error&) {
    throw;
  } catch (const std::exception& e) {
    throw load_error(path, fmt::format("cannot be loaded: {}", brief_message(e)));
  }
}

compiled_model restore(const jit::Module& module) { return restore(module, {}); }

compiled_model restore(const jit::Module& given, std::stop_token stop) {
  const c10::InferenceMode off{false};
  const std::string subject = "the module";
  auto module = given;
  if (!is_traced(module)) throw load_error(subject, "was never traced by Ganglion: call ganglion::trace first");
  try {
    module.eval();
    const auto manifest_text = manifest_in(module);
    return rebuilt(subject, std::move(module), manifest_text, {}, std::move(stop));
  } catch (const interrupted&) {
    throw error{errc::cancelled, "the loading of the model was cancelled"};
  } catch (const error&) {
    throw;
  } catch (const std::exception& e) {
    throw load_error(subject, fmt::format("cannot be compiled again: {}", brief_message(e)));
  }
}

jit::Module load_module(const fs::path& path, const load_options& options) {
  const c10::InferenceMode off{false};
  return read_archive(path, options).module;
}

}  // namespace ganglion

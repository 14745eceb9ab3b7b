#include <ganglion/model_io/model.hpp>

#include "archive.hpp"
#include "json_problem.hpp"
#include "model_state.hpp"
#include "signature_json.hpp"

#include <ganglion/model_io/replica.hpp>
#include <ganglion/model_io/whole_file.hpp>

#include <boost/json.hpp>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <ostream>
#include <sstream>

namespace ganglion {

namespace fs = std::filesystem;
namespace json = boost::json;
namespace jit = torch::jit;

namespace {

constexpr std::int64_t manifest_version = 1;

/// How an artifact was made. A plain torch.jit.save drops it: then the cast is in the signature's attribute, and the
/// rest is found anew.
struct manifest {
  std::string recipe;
  auto_cast cast = auto_cast::none;
  std::string measurements = "{}";
  std::string content_hash;
  std::vector<std::string> warnings;
};

std::string to_json(const compiled_model::state& state) {
  return json::serialize(json::object{{"version", manifest_version},
                                      {"producer", "ganglion " GANGLION_VERSION},
                                      {"recipe", state.recipe},
                                      {"auto_cast", cast_name(state.cast)},
                                      {"measurements", json::parse(state.measurements)},
                                      {"content_hash", state.content_hash},
                                      {"warnings", json::value_from(state.warnings)}});
}

/// The member of a manifest, or what is wrong with it.
template <class T, class Convert>
T member(const json::object& root, std::string_view name, std::string_view kind, Convert convert) {
  const auto* value = root.if_contains(name);
  if (!value) throw std::runtime_error{fmt::format("its \"{}\" is missing", name)};
  try {
    return convert(*value);
  } catch (const std::exception&) {
    throw std::runtime_error{fmt::format("its \"{}\" is no {}: {}", name, kind, json::serialize(*value))};
  }
}

std::string string_member(const json::object& root, std::string_view name) {
  return member<std::string>(root, name, "string", [](const auto& v) { return json::value_to<std::string>(v); });
}

manifest read_manifest(const fs::path& path, const std::string& text) {
  try {
    const auto root = json::parse(text).as_object();
    const auto version = member<std::int64_t>(root, "version", "version",
                                              [](const auto& v) { return v.template to_number<std::int64_t>(); });
    if (version != manifest_version)
      throw load_error(path, fmt::format("has a manifest of version {}, but this Ganglion reads version {}",
                                         version, manifest_version));
    manifest made;
    made.recipe = string_member(root, "recipe");
    made.cast = cast_from_name(string_member(root, "auto_cast"));
    made.measurements = member<std::string>(root, "measurements", "object",
                                            [](const auto& v) { return json::serialize(v.as_object()); });
    made.content_hash = string_member(root, "content_hash");
    made.warnings = member<std::vector<std::string>>(
        root, "warnings", "list of strings", [](const auto& v) { return json::value_to<std::vector<std::string>>(v); });
    if (!is_recipe(made.recipe, made.cast))
      throw std::runtime_error{fmt::format("its recipe \"{}\" is unknown for the auto_cast \"{}\"", made.recipe,
                                           cast_name(made.cast))};
    return made;
  } catch (const error&) {
    throw;
  } catch (const std::exception& e) {
    throw load_error(path, fmt::format("has a manifest that cannot be read: {}; trace it again", json_problem(e)));
  }
}

signature read_signature(const fs::path& path, const jit::Module& module, const std::string& text) {
  const auto& forward = module.get_method("forward").function().getSchema();
  std::vector<c10::TypePtr> types;
  for (std::size_t i = 1; i < forward.arguments().size(); ++i) types.push_back(forward.arguments()[i].type());
  auto sig = signature_from_json(text, types, forward.returns().at(0).type());
  if (!sig) throw load_error(path, fmt::format("cannot be loaded: {}", sig.error().text));
  try {
    std::vector<c10::IValue> stack{module._ivalue()};
    stack.insert(stack.end(), sig->example.begin(), sig->example.end());
    forward.checkAndNormalizeInputs(stack);
  } catch (const std::exception& e) {
    throw load_error(path,
                     fmt::format("has a signature that does not fit its forward: {}", brief_message(e)));
  }
  if (sig->pipeline_cores != 1)
    throw error{
        errc::unsupported_model,
        fmt::format(
            "'{}' was compiled with NeuronCore Pipeline for {} cores, which is not supported: compile it for "
            "one core",
            path.native(), sig->pipeline_cores)};
  return std::move(*sig);
}

auto_cast cast_of(const fs::path& path, const std::string& signature_text) {
  const auto cast = cast_from_attribute(signature_text);
  if (!cast) throw load_error(path, fmt::format("cannot be loaded: {}", cast.error().text));
  return *cast;
}

void check_hash(const fs::path& path, const manifest& made, const jit::Module& module,
                const std::string& signature_text) {
  if (const auto hash = content_hash(module, signature_text); hash != made.content_hash)
    throw load_error(
        path,
        fmt::format("has the content hash {}, but {} was recorded: it was changed or damaged after it was "
                    "traced; trace it again",
                    hash, made.content_hash));
}

compiled_model loaded(const fs::path& path, const load_options& options) {
  auto [module, manifest_text] = read_archive(path, options);
  if (!module.find_method("forward"))
    throw load_error(path, "has no method forward: trace a module that has one");
  if (!module.hasattr(signature_attribute) ||
      !module.attr(signature_attribute).isString())
    throw load_error(
        path,
        fmt::format("is plain TorchScript and was never traced by Ganglion: run `ganglion trace {} --input "
                    "SPEC --output OUT.pt`, or call ganglion::trace, first",
                    path.native()));
  const auto text = module.attr(signature_attribute).toStringRef();
  auto sig = read_signature(path, module, text);
  manifest made;
  if (manifest_text) {
    made = read_manifest(path, *manifest_text);
    check_hash(path, made, module, text);
    // The hash covers the attribute only.
    if (const auto cast = cast_of(path, text); cast != made.cast)
      throw load_error(path, fmt::format("has the auto_cast {} in its manifest, but {} in its signature: it was "
                                         "changed or damaged after it was traced; trace it again",
                                         cast_name(made.cast), cast_name(cast)));
  } else {
    made.cast = cast_of(path, text);
  }
  auto chosen = rebuild_program({module, sig, made.cast, {}}, made.recipe).value();
  chosen.measurements = made.measurements;
  return compiled_model{
      assemble(module, std::move(sig), made.cast, std::move(chosen), std::move(made.warnings))};
}

}  // namespace

void save(const compiled_model& model, const fs::path& path) {
  const auto& state = model.internals();
  // Into memory first: LibTorch's writer ends the process when a stream fails while it cleans up.
  std::ostringstream archive;
  try {
    state.source.save(archive, {{manifest_file, to_json(state)}});
  } catch (const std::exception& e) {
    throw error{errc::io_failed, fmt::format("'{}' cannot be written: {}", path.native(), brief_message(e))};
  }
  write_whole_file(path, [&](std::ostream& out) { out << archive.view(); }).value();
}

compiled_model load(const fs::path& path, load_options options) {
  const c10::InferenceMode off{false};
  try {
    return loaded(path, options);
  } catch (const error&) {
    throw;
  } catch (const std::exception& e) {
    throw load_error(path, fmt::format("cannot be loaded: {}", brief_message(e)));
  }
}

jit::Module load_module(const fs::path& path, const load_options& options) {
  const c10::InferenceMode off{false};
  return read_archive(path, options).module;
}

}  // namespace ganglion

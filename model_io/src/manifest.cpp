#include "manifest.hpp"

#include "archive.hpp"
#include "json_problem.hpp"
#include "signature_json.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

namespace ganglion {

namespace json = boost::json;

namespace {

constexpr std::int64_t manifest_version = 1;

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

}  // namespace

std::string manifest_of(const compiled_model::state& state) {
  return json::serialize(json::object{{"version", manifest_version},
                                      {"producer", "ganglion " GANGLION_VERSION},
                                      {"recipe", state.recipe},
                                      {"auto_cast", cast_name(state.cast)},
                                      {"measurements", json::parse(state.measurements)},
                                      {"content_hash", state.content_hash},
                                      {"warnings", json::value_from(state.warnings)}});
}

manifest read_manifest(const std::string& subject, const std::string& text) {
  try {
    const auto root = json::parse(text).as_object();
    const auto version = member<std::int64_t>(root, "version", "version",
                                              [](const auto& v) { return v.template to_number<std::int64_t>(); });
    if (version != manifest_version)
      throw load_error(subject, fmt::format("has a manifest of version {}, but this Ganglion reads version {}",
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
    throw load_error(subject, fmt::format("has a manifest that cannot be read: {}; trace it again", json_problem(e)));
  }
}

}  // namespace ganglion

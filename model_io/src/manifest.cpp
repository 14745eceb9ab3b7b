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

double positive_number(const json::value& value) {
  const auto number = value.to_number<double>();
  if (!(number > 0)) throw std::runtime_error{"not above 0"};
  return number;
}

tuned_for read_tuned(const json::value& value) {
  const auto& object = value.as_object();
  tuned_for tuned{json::value_to<std::string>(object.at("cpu")), object.at("threads").to_number<std::size_t>()};
  if (tuned.threads == 0) throw std::runtime_error{"no threads"};
  return tuned;
}

manifest::entry read_entry(const json::object& root, auto_cast cast) {
  auto recipe = string_member(root, "recipe");
  if (!is_recipe(recipe, cast))
    throw std::runtime_error{
        fmt::format("its recipe \"{}\" is unknown for the auto_cast \"{}\"", recipe, cast_name(cast))};
  return {std::move(recipe), member<std::string>(root, "measurements", "object",
                                                 [](const auto& v) { return json::serialize(v.as_object()); })};
}

}  // namespace

std::string manifest_of(const compiled_model::state& state) {
  const auto& first = state.programs.front().program;
  json::object root{{"version", manifest_version},
                    {"producer", "ganglion " GANGLION_VERSION},
                    {"recipe", first.recipe},
                    {"auto_cast", cast_name(state.policy.cast)},
                    {"max_deviation", state.policy.max_deviation},
                    {"measurements", json::parse(first.measurements)},
                    {"content_hash", state.content_hash},
                    {"warnings", json::value_from(state.stored_warnings)}};
  if (const auto& tuned = state.policy.tuned) root["tuned"] = {{"cpu", tuned->cpu}, {"threads", tuned->threads}};
  if (state.programs.size() > 1) {
    json::array more;
    for (std::size_t i = 1; i < state.programs.size(); ++i) {
      const auto& made = state.programs[i].program;
      more.push_back({{"recipe", made.recipe}, {"measurements", json::parse(made.measurements)}});
    }
    root["more_programs"] = std::move(more);
  }
  return json::serialize(root);
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
    auto& policy = made.policy;
    policy.cast = cast_from_name(string_member(root, "auto_cast"));
    if (root.contains("max_deviation"))
      policy.max_deviation = member<double>(root, "max_deviation", "number above 0", positive_number);
    if (root.contains("tuned"))
      policy.tuned = member<tuned_for>(root, "tuned", "object with a CPU and a number of threads", read_tuned);
    made.programs.push_back(read_entry(root, policy.cast));
    if (root.contains("more_programs"))
      for (const auto& more : member<json::array>(root, "more_programs", "list of objects",
                                                  [](const auto& v) { return v.as_array(); }))
        made.programs.push_back(read_entry(more.as_object(), policy.cast));
    made.content_hash = string_member(root, "content_hash");
    made.warnings = member<std::vector<std::string>>(
        root, "warnings", "list of strings", [](const auto& v) { return json::value_to<std::vector<std::string>>(v); });
    return made;
  } catch (const error&) {
    throw;
  } catch (const std::exception& e) {
    throw load_error(subject, fmt::format("has a manifest that cannot be read: {}; trace it again", json_problem(e)));
  }
}

}  // namespace ganglion

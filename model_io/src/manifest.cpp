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
    if (const auto version = root.at("version").to_number<std::int64_t>(); version != manifest_version)
      throw load_error(subject, fmt::format("has a manifest of version {}, but this Ganglion reads version {}",
                                            version, manifest_version));
    return {json::value_to<std::string>(root.at("recipe")),
            cast_from_name(root.at("auto_cast").as_string()), json::serialize(root.at("measurements")),
            json::value_to<std::string>(root.at("content_hash")),
            json::value_to<std::vector<std::string>>(root.at("warnings"))};
  } catch (const error&) {
    throw;
  } catch (const std::exception& e) {
    throw load_error(subject, fmt::format("has a manifest that cannot be read: {}", json_problem(e)));
  }
}

}  // namespace ganglion

#include <ganglion/engine/device_id.hpp>

#include "number_text.hpp"

#include <fmt/format.h>

#include <limits>
#include <numeric>

namespace ganglion {

namespace {

constexpr std::string_view name_prefix = "nc:";

std::string describe_visible(std::size_t visible) {
  if (visible == 0) return "no NeuronCore is visible to this process";
  if (visible == 1) return "1 NeuronCore is visible to this process: 0, or \"nc:0\"";
  return fmt::format("{0} NeuronCores are visible to this process: 0 to {1}, or \"nc:0\" to \"nc:{1}\"",
                     visible, visible - 1);
}

/// A negative number or one that no int holds: on the command line both are text.
bool is_number_of_no_core(const device_id& id) {
  auto text = id.to_string();
  std::erase(text, '"');
  if (text.starts_with('-')) return parse_decimal(std::string_view(text).substr(1)).has_value();
  return parse_decimal(text).value_or(0) > static_cast<std::size_t>(std::numeric_limits<int>::max());
}

failure refuse(const device_id& id, std::string_view why, std::size_t visible) {
  return {errc::invalid_device_id,
          fmt::format("device id {} {}; {}", id.to_string(), why, describe_visible(visible))};
}

}  // namespace

device_id device_id::parse_command_line_item(std::string_view item) {
  auto number = parse_decimal(item);
  if (number && *number <= static_cast<std::size_t>(std::numeric_limits<int>::max()))
    return static_cast<int>(*number);
  return std::string{item};
}

std::optional<std::size_t> device_id::index() const noexcept {
  if (auto number = std::get_if<int>(&given_))
    return *number < 0 ? std::nullopt : std::optional{static_cast<std::size_t>(*number)};
  std::string_view name = *std::get_if<std::string>(&given_);
  if (!name.starts_with(name_prefix)) return std::nullopt;
  name.remove_prefix(name_prefix.size());
  if (name.size() > 1 && name.front() == '0') return std::nullopt;
  return parse_decimal(name);
}

std::string device_id::to_string() const {
  if (auto number = std::get_if<int>(&given_)) return fmt::format("{}", *number);
  return fmt::format("{:?}", *std::get_if<std::string>(&given_));
}

expected<std::vector<std::size_t>> resolve_device_ids(std::span<const device_id> ids, std::size_t visible) {
  std::vector<std::size_t> indices;
  if (ids.empty()) {
    indices.resize(visible);
    std::iota(indices.begin(), indices.end(), std::size_t{0});
    return indices;
  }
  std::vector<bool> named(visible);
  for (const auto& id : ids) {
    auto index = id.index();
    if (!index && !is_number_of_no_core(id))
      return refuse(id, "is neither a core's index nor a name of the form \"nc:#\"", visible);
    if (!index || *index >= visible) return refuse(id, "is not a visible core", visible);
    if (named[*index]) return refuse(id, fmt::format("names core {} a second time", *index), visible);
    named[*index] = true;
    indices.push_back(*index);
  }
  return indices;
}

}  // namespace ganglion

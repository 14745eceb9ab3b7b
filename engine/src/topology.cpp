#include <ganglion/engine/topology.hpp>

#include "number_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>
#include <string_view>

namespace ganglion {

namespace {

constexpr const char* visible_cores_name = "NEURON_RT_VISIBLE_CORES";
constexpr const char* num_cores_name = "NEURON_RT_NUM_CORES";
constexpr const char* host_cores_name = "GANGLION_HOST_CORES";

using core_list = std::vector<std::size_t>;

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::optional<std::string>{value} : std::nullopt;
}

std::string describe_host(std::size_t host) {
  return host == 1 ? "this host has 1 NeuronCore, number 0"
                   : fmt::format("this host has {} NeuronCores, 0 to {}", host, host - 1);
}

failure invalid(const char* name, std::string_view value, std::string_view why) {
  return {errc::invalid_argument, fmt::format("{}={:?}: {}", name, value, why)};
}

failure none_visible(const char* name, std::string_view value) {
  return {errc::core_unavailable,
          value.empty()
              ? fmt::format("no NeuronCore is visible: {} is set and empty; unset it to see all", name)
              : fmt::format("no NeuronCore is visible: {} is {}; give at least 1", name, value)};
}

expected<std::size_t> host_core_count(const topology_request& request) {
  if (request.threads_per_core == 0)
    return failure{errc::invalid_argument, "threads_per_core is 0, but a core needs at least 1 CPU thread"};
  if (request.threads_per_core > max_threads_per_core)
    return failure{errc::invalid_argument, fmt::format("threads_per_core is {}, but a core has at most {} threads",
                                                       request.threads_per_core, max_threads_per_core)};
  if (request.host_cores) {
    if (*request.host_cores == 0) return none_visible("host_cores", "0");
    if (*request.host_cores > max_host_cores)
      return failure{errc::invalid_argument, fmt::format("host_cores is {}, but a host has at most {} cores",
                                                         *request.host_cores, max_host_cores)};
    return *request.host_cores;
  }
  if (request.host_cores_env) {
    const auto& text = *request.host_cores_env;
    if (text.empty()) return none_visible(host_cores_name, text);
    auto count = parse_decimal(text);
    if (!count) return invalid(host_cores_name, text, "not a number of cores; write one such as 16");
    if (*count == 0) return none_visible(host_cores_name, text);
    if (*count > max_host_cores)
      return invalid(host_cores_name, text, fmt::format("a host has at most {} cores", max_host_cores));
    return *count;
  }
  return std::clamp(request.usable_cpus / request.threads_per_core, std::size_t{1}, max_host_cores);
}

struct core_range {
  std::size_t first;
  std::size_t last;
};

std::optional<core_range> parse_range(std::string_view item) {
  auto dash = item.find('-');
  auto first = parse_decimal(item.substr(0, dash));
  auto last = dash == std::string_view::npos ? first : parse_decimal(item.substr(dash + 1));
  if (!first || !last) return std::nullopt;
  return core_range{*first, *last};
}

expected<core_list> listed_cores(std::string_view text, std::size_t host) {
  if (text.empty()) return none_visible(visible_cores_name, text);
  auto refuse = [&](std::string_view why) {
    return invalid(visible_cores_name, text, fmt::format("{}; {}", why, describe_host(host)));
  };
  core_list cores;
  std::vector<bool> listed(host);
  for (auto rest = text;;) {
    auto comma = rest.find(',');
    auto item = rest.substr(0, comma);
    auto range = parse_range(item);
    if (!range)
      return refuse(
          fmt::format("{:?} is neither a core nor a range; write 3, 0-6 or 0,2,4-5 without spaces", item));
    if (range->first > range->last) return refuse(fmt::format("the range {} is reversed", item));
    if (range->last >= host) return refuse(fmt::format("{} goes past the host's last core", item));
    for (auto core = range->first; core <= range->last; ++core) {
      if (listed[core]) return refuse(fmt::format("core {} is listed twice", core));
      listed[core] = true;
      cores.push_back(core);
    }
    if (comma == std::string_view::npos) return cores;
    rest.remove_prefix(comma + 1);
  }
}

using holder_map = std::map<pid_t, core_list>;

std::string describe_holders(const holder_map& holders) {
  std::string text;
  for (const auto& [process, cores] : holders)
    text +=
        fmt::format("; {} holds {}", process == 0 ? "another process" : fmt::format("process {}", process),
                    format_ranges(cores));
  return text;
}

expected<core_list> first_free_cores(const std::string& text, std::size_t host, const core_query& query) {
  if (text.empty()) return none_visible(num_cores_name, text);
  auto wanted = parse_decimal(text);
  if (!wanted)
    return invalid(num_cores_name, text,
                   fmt::format("not a number of cores; write one such as 2; {}", describe_host(host)));
  if (*wanted == 0) return none_visible(num_cores_name, text);
  core_list cores;
  holder_map holders;
  for (std::size_t core = 0; core < host && cores.size() < *wanted; ++core) {
    auto holder = query(core);
    if (!holder) return holder.error();
    if (*holder)
      holders[**holder].push_back(core);
    else
      cores.push_back(core);
  }
  if (cores.size() < *wanted)
    return failure{errc::core_unavailable,
                   fmt::format("{}={} asks for more NeuronCores than are free: {}, and {} of them {} free{}; {}",
                               num_cores_name, text, describe_host(host), cores.size(),
                               cores.size() == 1 ? "is" : "are", describe_holders(holders),
                               *wanted > host ? "ask for fewer" : "ask for fewer, or end a process that holds some")};
  return cores;
}

core_list all_cores(std::size_t host) {
  core_list cores(host);
  std::iota(cores.begin(), cores.end(), std::size_t{0});
  return cores;
}

}  // namespace

topology_request read_environment() {
  topology_request request;
  request.visible_cores_env = variable(visible_cores_name);
  request.num_cores_env = variable(num_cores_name);
  request.host_cores_env = variable(host_cores_name);
  return request;
}

expected<topology> resolve_topology(const topology_request& request, const core_query& query) {
  auto host = host_core_count(request);
  if (!host) return host.error();
  auto cores = request.visible_cores_env ? listed_cores(*request.visible_cores_env, *host)
               : request.num_cores_env   ? first_free_cores(*request.num_cores_env, *host, query)
                                         : expected<core_list>{all_cores(*host)};
  if (!cores) return cores.error();
  topology result;
  result.host_cores = *host;
  result.needs_locks = request.visible_cores_env || request.num_cores_env;
  for (auto global : *cores)
    result.cores.push_back({result.cores.size(), global, global / cores_per_chip, global % cores_per_chip});
  return result;
}

}  // namespace ganglion

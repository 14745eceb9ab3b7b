#include "command.hpp"

#include <ganglion/engine/core_lock.hpp>
#include <ganglion/engine/cpu_allowance.hpp>

#include <fmt/format.h>

namespace ganglion::command {

namespace {

/// What an engine of this process would see if it were made now.
topology preview() {
  auto request = read_environment();
  request.usable_cpus = read_cpu_allowance().count;
  return preview_cores(request).value();
}

/// The other process that holds a core, if any. Where cores need no locks, locks that cannot be read are no error.
std::optional<pid_t> holder_of(const core_info& core, bool needs_locks) {
  auto holder = other_core_holder(default_lock_directory(), core.global);
  if (!holder && !needs_locks) return {};
  return std::move(holder).value();
}

boost::json::object to_json(const core_info& core, std::optional<pid_t> holder) {
  return {{"index", core.index},
          {"global", core.global},
          {"chip", core.chip},
          {"core", core.core},
          {"held_by", holder ? boost::json::value(*holder) : boost::json::value()}};
}

void list_cores(bool json) {
  const auto seen = preview();
  boost::json::array cores;
  for (const auto& core : seen.cores) cores.push_back(to_json(core, holder_of(core, seen.needs_locks)));
  if (json) return print_json({{"cores", std::move(cores)}, {"host_cores", seen.host_cores}});

  fmt::print("{:<10}{:>7}  {:<14}{}\n", "device id", "global", "place", "held by");
  for (std::size_t i = 0; i < seen.cores.size(); ++i) {
    const auto& core = seen.cores[i];
    const auto& holder = cores[i].at("held_by");
    fmt::print("{:<10}{:>7}  {:<14}{}\n", fmt::format("nc:{}", core.index), core.global,
               fmt::format("chip{}:core{}", core.chip, core.core),
               holder.is_null() ? "-" : fmt::format("process {}", holder.as_int64()));
  }
  fmt::print("{} visible of {} on the host\n", counted(static_cast<std::int64_t>(seen.cores.size()), "core"),
             seen.host_cores);
}

}  // namespace

void add_cores(CLI::App& app) {
  auto* verb = app.add_subcommand("cores", "List the NeuronCores that a process sees; takes no lock");
  auto json = std::make_shared<bool>(false);
  add_json(*verb, *json);
  verb->callback([json] { list_cores(*json); });
}

}  // namespace ganglion::command

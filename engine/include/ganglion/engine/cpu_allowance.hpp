#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

namespace ganglion {

/// The CPUs that this process may use.
struct cpu_allowance {
  /// Their numbers, ascending: the affinity of the process's main thread.
  std::vector<int> cpus;
  /// How many of them it may keep busy at once: fewer than all under a quota of its control group.
  std::size_t count = 1;
};

/// Reads the allowance as it is now; at least one CPU.
cpu_allowance read_cpu_allowance();

/// The CPU quota in whole CPUs, rounded down but at least 1, that control groups of either version set for a
/// process: the smallest along the path from its group up to the root; nothing where none is set.
/// `mount` is where the hierarchies are mounted, /sys/fs/cgroup, `membership` the text of /proc/self/cgroup.
std::optional<std::size_t> cgroup_cpu_limit(const std::filesystem::path& mount, std::string_view membership);

}  // namespace ganglion

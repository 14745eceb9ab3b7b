#pragma once

#include <filesystem>
#include <vector>

namespace ganglion {

/// The CPUs of each of the host's memory nodes, those of one node ascending; nodes without a CPU are left out. Empty
/// where the kernel does not say.
using numa_nodes = std::vector<std::vector<int>>;

/// Reads them from where the kernel shows them.
numa_nodes read_numa_nodes(const std::filesystem::path& folder = "/sys/devices/system/node");

}  // namespace ganglion

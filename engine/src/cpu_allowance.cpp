#include <ganglion/engine/cpu_allowance.hpp>

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>
#include <string>
#include <thread>

namespace ganglion {

namespace {

std::vector<int> affinity_of_process() {
  // The main thread's, by its id: the calling thread may be one that somebody pinned.
  constexpr std::size_t most_cpus = 1 << 16;
  for (std::size_t size = CPU_SETSIZE; size <= most_cpus; size *= 2) {
    std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set{CPU_ALLOC(size), [](cpu_set_t* p) { CPU_FREE(p); }};
    auto bytes = CPU_ALLOC_SIZE(size);
    if (::sched_getaffinity(::getpid(), bytes, set.get()) != 0) {
      if (errno == EINVAL) continue;
      break;
    }
    std::vector<int> cpus;
    for (std::size_t cpu = 0; cpu < size; ++cpu)
      if (CPU_ISSET_S(cpu, bytes, set.get())) cpus.push_back(static_cast<int>(cpu));
    return cpus;
  }
  std::vector<int> cpus(std::max(1U, std::thread::hardware_concurrency()));
  std::iota(cpus.begin(), cpus.end(), 0);
  return cpus;
}

/// The group's path below the mount, from the line `0::/path`.
std::string group_path(std::string_view membership) {
  constexpr std::string_view prefix = "0::/";
  while (!membership.empty()) {
    auto line = membership.substr(0, membership.find('\n'));
    if (line.starts_with(prefix)) return std::string{line.substr(prefix.size())};
    membership.remove_prefix(std::min(line.size() + 1, membership.size()));
  }
  return {};
}

/// `cpu.max` is "quota period" in microseconds, or "max period".
std::optional<std::size_t> limit_in(const std::filesystem::path& group) {
  std::ifstream file{group / "cpu.max"};
  std::uint64_t quota = 0;
  std::uint64_t period = 0;
  if (!(file >> quota >> period) || period == 0) return std::nullopt;
  return std::max<std::uint64_t>(1, quota / period);
}

}  // namespace

std::optional<std::size_t> cgroup_cpu_limit(const std::filesystem::path& mount, std::string_view membership) {
  std::optional<std::size_t> smallest;
  auto consider = [&](const std::filesystem::path& group) {
    auto limit = limit_in(group);
    if (limit && (!smallest || *limit < *smallest)) smallest = limit;
  };
  // A container may see its own group as the mount's root but its path as the host names it: then the folders
  // below do not exist, and only the root counts.
  auto group = mount;
  consider(group);
  for (const auto& part : std::filesystem::path{group_path(membership)}) consider(group /= part);
  return smallest;
}

cpu_allowance read_cpu_allowance() {
  cpu_allowance allowance;
  allowance.cpus = affinity_of_process();
  std::ifstream file{"/proc/self/cgroup"};
  std::string membership{std::istreambuf_iterator<char>{file}, {}};
  auto limit = cgroup_cpu_limit("/sys/fs/cgroup", membership);
  allowance.count = std::min(allowance.cpus.size(), limit.value_or(allowance.cpus.size()));
  return allowance;
}

}  // namespace ganglion

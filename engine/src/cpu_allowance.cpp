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
#include <sstream>
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

/// A line of /proc/self/cgroup, `number:controllers:/path`: version 2 has the number 0 and no controllers.
struct membership_line {
  std::string_view controllers, path;
};

std::vector<membership_line> lines_of(std::string_view membership) {
  std::vector<membership_line> lines;
  while (!membership.empty()) {
    const auto line = membership.substr(0, membership.find('\n'));
    const auto first = line.find(':'), second = line.find(":/", first + 1);
    if (first != line.npos && second != line.npos)
      lines.push_back({line.substr(first + 1, second - first - 1), line.substr(second + 2)});
    membership.remove_prefix(std::min(line.size() + 1, membership.size()));
  }
  return lines;
}

bool has_cpu(std::string_view controllers) {
  return ("," + std::string{controllers} + ",").find(",cpu,") != std::string::npos;
}

std::optional<std::size_t> limit_of(std::istream& text) {
  std::uint64_t quota = 0;
  std::uint64_t period = 0;
  if (!(text >> quota >> period) || period == 0) return std::nullopt;
  return std::max<std::uint64_t>(1, quota / period);
}

/// Version 2: `cpu.max` is "quota period" in microseconds, or "max period".
std::optional<std::size_t> limit_in(const std::filesystem::path& group) {
  std::ifstream file{group / "cpu.max"};
  return limit_of(file);
}

/// Version 1 has a file for each of the two; the quota is -1 where there is none.
std::optional<std::size_t> limit_in_version_1(const std::filesystem::path& group) {
  std::ifstream quota{group / "cpu.cfs_quota_us"}, period{group / "cpu.cfs_period_us"};
  std::stringstream both;
  if (quota.peek() == '-') return std::nullopt;
  both << quota.rdbuf() << ' ' << period.rdbuf();
  return limit_of(both);
}

}  // namespace

std::optional<std::size_t> cgroup_cpu_limit(const std::filesystem::path& mount, std::string_view membership) {
  std::optional<std::size_t> smallest;
  // A container may see its own group as the mount's root but its path as the host names it: then the folders
  // below do not exist, and only the root counts.
  const auto consider = [&](std::filesystem::path group, std::string_view path, auto limit_at) {
    const auto take = [&](std::optional<std::size_t> limit) {
      if (limit && (!smallest || *limit < *smallest)) smallest = limit;
    };
    take(limit_at(group));
    for (const auto& part : std::filesystem::path{path}) take(limit_at(group /= part));
  };
  std::string_view unified;
  for (const auto& [controllers, path] : lines_of(membership)) {
    if (controllers.empty()) unified = path;
    // The folder of a hierarchy has the name of its controllers, with a link for each of them alone.
    if (has_cpu(controllers)) consider(mount / "cpu", path, limit_in_version_1);
  }
  consider(mount, unified, limit_in);
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

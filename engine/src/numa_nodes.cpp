#include <ganglion/engine/numa_nodes.hpp>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>

namespace ganglion {

namespace {

/// Ranges such as `0-3,8,10-11`; what is no such list ends it.
std::vector<int> cpus_in(const std::filesystem::path& list) {
  std::vector<int> cpus;
  std::ifstream file{list};
  int first = 0;
  while (file >> first) {
    int last = first;
    if (file.peek() == '-') {
      file.get();
      if (!(file >> last)) break;
    }
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    if (file.peek() == ',') file.get();
  }
  return cpus;
}

}  // namespace

numa_nodes read_numa_nodes(const std::filesystem::path& folder) {
  std::map<std::size_t, std::vector<int>> by_number;
  std::error_code failed;
  std::filesystem::directory_iterator entry{folder, failed}, end;
  for (; !failed && entry != end; entry.increment(failed)) {
    const auto name = entry->path().filename().string();
    auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (!name.starts_with("node") || name.size() < 5 || name.size() > 9 ||
        !std::all_of(name.begin() + 4, name.end(), is_digit))
      continue;
    if (auto cpus = cpus_in(entry->path() / "cpulist"); !cpus.empty())
      by_number.emplace(std::stoul(name.substr(4)), std::move(cpus));
  }
  numa_nodes nodes;
  for (auto& [number, cpus] : by_number) nodes.push_back(std::move(cpus));
  return nodes;
}

}  // namespace ganglion

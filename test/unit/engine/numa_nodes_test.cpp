#include <ganglion/engine/numa_nodes.hpp>

#include "scratch_directory.hpp"

#include <ganglion/engine/cpu_allowance.hpp>

#include <support/doctest.hpp>

#include <algorithm>
#include <fstream>

using namespace ganglion;

namespace {

void add(const std::filesystem::path& folder, const std::string& name, const std::string& cpus) {
  std::filesystem::create_directories(folder / name);
  std::ofstream{folder / name / "cpulist"} << cpus << '\n';
}

}  // namespace

TEST_CASE("the memory nodes are in the order of their numbers, each with its CPUs") {
  test::scratch_directory folder;
  add(folder.path(), "node10", "7");
  add(folder.path(), "node0", "0-2,8");
  add(folder.path(), "node2", "3,5-6");
  EXPECT(read_numa_nodes(folder.path()) == numa_nodes{{0, 1, 2, 8}, {3, 5, 6}, {7}});
}

TEST_CASE("nodes that are memory alone, and what is no node, are left out") {
  test::scratch_directory folder;
  add(folder.path(), "node0", "0-1");
  add(folder.path(), "node1", "");
  add(folder.path(), "power", "4");
  add(folder.path(), "nodes", "5");
  add(folder.path(), "node", "6");
  std::filesystem::create_directories(folder.path() / "node3");
  EXPECT(read_numa_nodes(folder.path()) == numa_nodes{{0, 1}});
}

TEST_CASE("where the kernel shows no nodes there are none, and a list that is damaged counts up to there") {
  test::scratch_directory folder;
  EXPECT(read_numa_nodes(folder.path() / "missing").empty());
  EXPECT(read_numa_nodes(folder.path()).empty());
  add(folder.path(), "node0", "0-1,x");
  EXPECT(read_numa_nodes(folder.path()) == numa_nodes{{0, 1}});
}

TEST_CASE("the nodes of this host have the CPUs that this process may use") {
  const auto nodes = read_numa_nodes();
  if (nodes.empty()) return;
  for (int cpu : read_cpu_allowance().cpus)
    EXPECT(std::ranges::count_if(nodes, [cpu](const auto& node) { return std::ranges::count(node, cpu) == 1; }) == 1);
}

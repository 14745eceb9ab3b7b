#include <ganglion/engine/cpu_allowance.hpp>

#include "scratch_directory.hpp"

#include <support/doctest.hpp>

#include <algorithm>
#include <fstream>

using namespace ganglion;

namespace {

void set_quota(const std::filesystem::path& group, const std::string& text) {
  std::filesystem::create_directories(group);
  std::ofstream{group / "cpu.max"} << text << '\n';
}

}  // namespace

TEST_CASE("a process may use at least one CPU, and no more at once than it may use at all") {
  auto allowance = read_cpu_allowance();
  REQUIRE_FALSE(allowance.cpus.empty());
  EXPECT(std::is_sorted(allowance.cpus.begin(), allowance.cpus.end()));
  EXPECT(allowance.count >= 1);
  EXPECT(allowance.count <= allowance.cpus.size());
}

TEST_CASE("the CPU quota is the smallest from the process's group up to the root, in whole CPUs") {
  test::scratch_directory mount;
  const std::string membership = "9:name=systemd:/x\n0::/a/b\n";
  EXPECT_FALSE(cgroup_cpu_limit(mount.path(), membership).has_value());
  set_quota(mount.path() / "a/b", "max 100000");
  EXPECT_FALSE(cgroup_cpu_limit(mount.path(), membership).has_value());
  set_quota(mount.path() / "a", "250000 100000");
  EXPECT(cgroup_cpu_limit(mount.path(), membership) == 2);
  set_quota(mount.path() / "a/b", "400000 100000");
  EXPECT(cgroup_cpu_limit(mount.path(), membership) == 2);
  set_quota(mount.path() / "a/b", "50000 100000");
  EXPECT(cgroup_cpu_limit(mount.path(), membership) == 1);
}

TEST_CASE("a quota of version 1 counts likewise, and whichever of both is smaller") {
  test::scratch_directory mount;
  const std::string membership = "5:cpuset:/x\n4:cpuacct,cpu:/a/b\n0::/\n";
  const auto set = [&](const char* group, const char* quota) {
    const auto folder = mount.path() / "cpu" / group;
    std::filesystem::create_directories(folder);
    std::ofstream{folder / "cpu.cfs_quota_us"} << quota << '\n';
    std::ofstream{folder / "cpu.cfs_period_us"} << "100000\n";
  };
  EXPECT_FALSE(cgroup_cpu_limit(mount.path(), membership).has_value());
  set("", "-1");
  set("a/b", "-1");
  EXPECT_FALSE(cgroup_cpu_limit(mount.path(), membership).has_value());
  set("a", "350000");
  EXPECT(cgroup_cpu_limit(mount.path(), membership) == 3);
  set("a/b", "20000");
  EXPECT(cgroup_cpu_limit(mount.path(), membership) == 1);
  EXPECT_FALSE(cgroup_cpu_limit(mount.path(), "4:cpuacct:/a/b\n").has_value());
  set("a/b", "350000");
  set_quota(mount.path(), "200000 100000");
  EXPECT(cgroup_cpu_limit(mount.path(), membership) == 2);
}

TEST_CASE("in a container that sees only its own group the root's quota counts") {
  test::scratch_directory mount;
  set_quota(mount.path(), "300000 100000");
  EXPECT(cgroup_cpu_limit(mount.path(), "0::/docker/0123\n") == 3);
  EXPECT(cgroup_cpu_limit(mount.path(), "0::/\n") == 3);
  EXPECT(cgroup_cpu_limit(mount.path(), "") == 3);
}

TEST_CASE("a quota that cannot be read sets no limit") {
  test::scratch_directory mount;
  for (const char* text : {"", "100000", "100000 0", "many 100000"}) {
    set_quota(mount.path(), text);
    EXPECT_FALSE(cgroup_cpu_limit(mount.path(), "0::/\n").has_value());
  }
}

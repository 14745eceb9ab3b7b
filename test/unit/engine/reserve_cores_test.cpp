#include <ganglion/engine/core_lock.hpp>

#include "child_process.hpp"
#include "scratch_directory.hpp"
#include "topology_requests.hpp"

#include <support/doctest.hpp>
#include <support/errors.hpp>

#include <memory>
#include <set>

using namespace ganglion;
using ganglion::test::child_process;
using ganglion::test::scratch_directory;

namespace {

/// The global indices, or the error's text.
std::string describe(const topology& found) {
  std::string text;
  for (const auto& core : found.cores) text += std::to_string(core.global) + " ";
  return text;
}

std::string describe(const expected<reserved_cores>& reserved) {
  return reserved ? describe(reserved->topology) : reserved.error().text;
}

/// A child that reserves and keeps what it got; it reports what that is.
std::unique_ptr<child_process> holder_of(const topology_request& request,
                                         const std::filesystem::path& directory) {
  auto kept = std::make_shared<std::optional<expected<reserved_cores>>>();
  return std::make_unique<child_process>([=] {
    kept->emplace(reserve_cores(request, directory));
    return describe(**kept);
  });
}

}  // namespace

TEST_CASE("without either variable no core is locked") {
  scratch_directory scratch;
  auto directory = scratch.path() / "locks";
  auto reserved = reserve_cores(host_of(4), directory);
  EXPECT(describe(reserved) == "0 1 2 3 ");
  EXPECT(reserved->locks.size() == 0);
  EXPECT_FALSE(std::filesystem::exists(directory));
}

TEST_CASE("two processes with disjoint visible cores run side by side") {
  scratch_directory scratch;
  auto other = holder_of(visible(16, "0-6"), scratch.path());
  EXPECT(other->report() == "0 1 2 3 4 5 6 ");
  auto own = reserve_cores(visible(16, "7-15"), scratch.path());
  REQUIRE(own.has_value());
  EXPECT(own->locks.size() == 9);
  EXPECT(own->topology.cores[7] == core_info{7, 14, 3, 2});
}

TEST_CASE(
    "a visible core of another process is refused with the core and the process, and nothing stays locked") {
  scratch_directory scratch;
  auto other = holder_of(visible(8, "5"), scratch.path());
  REQUIRE(other->report() == "5 ");
  auto refused = reserve_cores(visible(8, "3-7"), scratch.path());
  REQUIRE(refused.has_error());
  EXPECT(refused.error().code == errc::core_unavailable);
  EXPECT(contains(refused.error().text, "NeuronCore 5"));
  EXPECT(contains(refused.error().text, "nc:2"));
  EXPECT(contains(refused.error().text, "process " + std::to_string(other->id())));
  EXPECT(contains(refused.error().text, "NEURON_RT_VISIBLE_CORES=3-7"));
  EXPECT(holder_of(visible(8, "3-4,6-7"), scratch.path())->report() == "3 4 6 7 ");
}

TEST_CASE("the engines of one process see and share the same cores") {
  scratch_directory scratch;
  auto one = reserve_cores(first(4, "2"), scratch.path());
  auto two = reserve_cores(first(4, "2"), scratch.path());
  auto three = reserve_cores(visible(4, "1-2"), scratch.path());
  EXPECT(describe(one) == "0 1 ");
  EXPECT(describe(two) == "0 1 ");
  EXPECT(describe(three) == "1 2 ");
  EXPECT(holder_of(first(4, "1"), scratch.path())->report() == "3 ");
}

TEST_CASE("processes that start together with a number of cores get different ones") {
  scratch_directory scratch;
  constexpr std::size_t processes = 6;
  std::vector<std::unique_ptr<child_process>> children;
  for (std::size_t i = 0; i < processes; ++i)
    children.push_back(holder_of(first(2 * processes, "2"), scratch.path()));
  std::multiset<std::string> cores;
  for (auto& child : children) {
    auto line = child->report();
    auto space = line.find(' ');
    REQUIRE(space != std::string::npos);
    cores.insert(line.substr(0, space));
    cores.insert(line.substr(space + 1));
  }
  EXPECT(cores.size() == 2 * processes);
  EXPECT(std::set<std::string>(cores.begin(), cores.end()).size() == 2 * processes);
}

TEST_CASE("a number of cores that is not free is refused with the holders, and nothing stays locked") {
  scratch_directory scratch;
  auto other = holder_of(visible(4, "1-2"), scratch.path());
  REQUIRE(other->report() == "1 2 ");
  auto refused = reserve_cores(first(4, "3"), scratch.path());
  REQUIRE(refused.has_error());
  EXPECT(refused.error().code == errc::core_unavailable);
  EXPECT(contains(refused.error().text, "2 of them are free"));
  EXPECT(contains(refused.error().text, "process " + std::to_string(other->id()) + " holds 1-2"));
  EXPECT(holder_of(first(4, "2"), scratch.path())->report() == "0 3 ");
}

TEST_CASE("a preview sees what an engine would see and takes nothing") {
  scratch_directory scratch;
  auto other = holder_of(visible(4, "0"), scratch.path());
  REQUIRE(other->report() == "0 ");
  auto counted = preview_cores(first(4, "2"), scratch.path());
  REQUIRE(counted.has_value());
  EXPECT(describe(*counted) == "1 2 ");
  auto listed = preview_cores(visible(4, "0-1"), scratch.path());
  REQUIRE(listed.has_value());
  EXPECT(describe(*listed) == "0 1 ");
  EXPECT(preview_cores(first(4, "4"), scratch.path()).error().code == errc::core_unavailable);
  EXPECT(holder_of(first(4, "3"), scratch.path())->report() == "1 2 3 ");
}

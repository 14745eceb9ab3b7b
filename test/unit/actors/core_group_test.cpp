#include <support/doctest.hpp>

#include <ganglion/actors/batcher/core_table.hpp>

#include <algorithm>
#include <numeric>
#include <random>

using namespace ganglion;

namespace {

core_load load(std::size_t executions, double seconds, double measured = 0) {
  return {executions, seconds, measured, 1};
}

bool takes_all(const core_load& l) { return l.executions < 100; }
bool any(std::size_t) { return true; }

}  // namespace

TEST_CASE("core group: the core with the fewest executions is found, of equal ones the first in the group's order") {
  core_group group{{7, 3, 9}};
  EXPECT_FALSE(group.least_busy(takes_all, any).has_value());  // none is there yet
  group.set(0, load(2, 0));
  group.set(1, load(1, 0));
  group.set(2, load(1, 0));
  EXPECT(group.least_busy(takes_all, any) == 3);
  group.set(1, load(3, 0));
  EXPECT(group.least_busy(takes_all, any) == 9);
  group.set(2, {});
  EXPECT(group.least_busy(takes_all, any) == 7);
  EXPECT(group.least_busy(takes_all, [](std::size_t core) { return core != 7; }) == 3);
  EXPECT_FALSE(group.least_busy([](const core_load& l) { return l.executions < 2; }, any).has_value());
}

TEST_CASE("core group: the total is of the cores that are there") {
  core_group group{{0, 1, 2, 3, 4}};
  EXPECT(group.total().up == 0);
  group.set(1, load(1, 0.5, 0.25));
  group.set(4, load(2, 1.5, 0.5));
  EXPECT(group.total().up == 2);
  EXPECT(group.total().measured == 0.75);
  EXPECT(group.total().executions == 1);
  EXPECT(group.total().seconds == 0.5);
  group.set(1, {});
  EXPECT(group.total().up == 1);
  EXPECT(group.total().measured == 0.5);
  EXPECT(core_group{{}}.total().up == 0);
  EXPECT_FALSE(core_group{{}}.least_busy(takes_all, any).has_value());
}

TEST_CASE("core group: it finds what a look at every core finds, whatever they hold") {
  const credit_config credits{2, 1e-3, 8};
  std::mt19937 random(1);
  auto below = [&random](std::size_t n) { return random() % n; };
  for (int world = 0; world < 200; ++world) {
    std::vector<std::size_t> cores(1 + below(40));
    std::iota(cores.begin(), cores.end(), below(5));
    std::shuffle(cores.begin(), cores.end(), random);
    core_group group{cores};
    std::vector<core_load> loads(cores.size());
    for (int step = 0; step < 200; ++step) {
      auto place = below(cores.size());
      loads[place] = below(5) == 0 ? core_load{} : load(below(10), static_cast<double>(below(12)) * 1e-4);
      group.set(place, loads[place]);
      auto more = static_cast<double>(below(8)) * 1e-4;
      auto forbidden = below(4) == 0 ? cores[below(cores.size())] : 1000;
      auto takes = [&](const core_load& l) { return credits.accept(l.executions, l.seconds, more); };
      std::optional<std::size_t> wanted;
      for (std::size_t i = 0, least = 1000; i < cores.size(); ++i)
        if (takes(loads[i]) && cores[i] != forbidden && loads[i].executions < least) {
          wanted = cores[i];
          least = loads[i].executions;
        }
      REQUIRE(group.least_busy(takes, [&](std::size_t core) { return core != forbidden; }) == wanted);
    }
  }
}

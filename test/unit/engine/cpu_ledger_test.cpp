#include <ganglion/engine/cpu_ledger.hpp>

#include "child_process.hpp"

#include <support/doctest.hpp>

#include <algorithm>
#include <map>
#include <random>
#include <set>

using namespace ganglion;

namespace {

const std::vector<std::size_t> four_cores{0, 1, 2, 3};
const std::vector<int> four_cpus{0, 1, 2, 3};

}  // namespace

TEST_CASE("each core gets CPUs of its own while there are enough") {
  cpu_ledger ledger;
  EXPECT(ledger.book(four_cores, 1, four_cpus) == cpu_plan{{0}, {1}, {2}, {3}});
  cpu_ledger wider;
  EXPECT(wider.book(std::vector<std::size_t>{0, 1}, 2, four_cpus) == cpu_plan{{0, 1}, {2, 3}});
}

TEST_CASE("more cores than CPUs wrap around evenly") {
  cpu_ledger ledger;
  EXPECT(ledger.book(four_cores, 1, std::vector<int>{4, 9}) == cpu_plan{{4}, {9}, {4}, {9}});
}

TEST_CASE("a core with more threads than CPUs uses every CPU as evenly as can be") {
  cpu_ledger ledger;
  EXPECT(ledger.book(std::vector<std::size_t>{0}, 3, std::vector<int>{0, 1}) == cpu_plan{{0, 0, 1}});
}

TEST_CASE("a second booking takes the CPUs that the first left free") {
  cpu_ledger ledger;
  ledger.book(std::vector<std::size_t>{0}, 1, four_cpus);
  EXPECT(ledger.book(std::vector<std::size_t>{0, 1, 2}, 1, four_cpus) == cpu_plan{{1}, {2}, {3}});
}

TEST_CASE("processes that split a host's cores start on different CPUs") {
  cpu_ledger one;
  cpu_ledger two;
  EXPECT(one.book(std::vector<std::size_t>{0, 1}, 1, four_cpus) == cpu_plan{{0}, {1}});
  EXPECT(two.book(std::vector<std::size_t>{2, 3}, 1, four_cpus) == cpu_plan{{2}, {3}});
}

TEST_CASE("the threads of a core are on one memory node, also where the nodes' CPUs alternate") {
  const numa_nodes alternating{{0, 2, 4, 6}, {1, 3, 5, 7}};
  const std::vector<int> eight{0, 1, 2, 3, 4, 5, 6, 7};
  cpu_ledger ledger;
  EXPECT(ledger.book(four_cores, 2, eight, alternating) == cpu_plan{{0, 2}, {3, 5}, {4, 6}, {1, 7}});
  cpu_ledger wider;
  EXPECT(wider.book(std::vector<std::size_t>{0, 1}, 4, eight, alternating) == cpu_plan{{0, 2, 4, 6}, {1, 3, 5, 7}});
  cpu_ledger restricted;  // of each node three are allowed
  EXPECT(restricted.book(std::vector<std::size_t>{0, 1}, 3, std::vector<int>{1, 2, 3, 4, 5, 6}, alternating) ==
         cpu_plan{{1, 3, 5}, {2, 4, 6}});
}

TEST_CASE("a core goes over two memory nodes rather than that a CPU takes more threads than another") {
  const numa_nodes two{{0, 1, 2}, {3, 4, 5}};
  const std::vector<int> six{0, 1, 2, 3, 4, 5};
  cpu_ledger ledger;
  EXPECT(ledger.book(std::vector<std::size_t>{0, 1, 2}, 2, six, two) == cpu_plan{{0, 1}, {3, 4}, {2, 5}});
  cpu_ledger larger_than_a_node;
  EXPECT(larger_than_a_node.book(std::vector<std::size_t>{0}, 4, six, two) == cpu_plan{{0, 1, 2, 3}});
}

TEST_CASE("a ledger stays balanced, gives a core distinct CPUs and forgets what is released") {
  std::mt19937 random{11};
  for (int round = 0; round < 300; ++round) {
    cpu_ledger ledger;
    std::vector<int> cpus;
    for (int cpu = 0; cpu < 12; ++cpu)
      if (random() % 2) cpus.push_back(cpu);
    if (cpus.empty()) cpus.push_back(3);
    numa_nodes nodes(random() % 4);
    for (int cpu = 0; cpu < 12 && !nodes.empty(); ++cpu) nodes[random() % nodes.size()].push_back(cpu);
    std::vector<cpu_plan> plans;
    std::map<int, std::size_t> count;
    for (int booking = 0; booking < 5; ++booking) {
      std::vector<std::size_t> globals;
      for (auto cores = 1 + random() % 5; cores > 0; --cores) globals.push_back(random() % 4096);
      std::size_t threads = 1 + random() % 5;
      plans.push_back(ledger.book(globals, threads, cpus, nodes));
      REQUIRE(plans.back().size() == globals.size());
      for (const auto& core : plans.back()) {
        EXPECT(core.size() == threads);
        EXPECT(std::set<int>(core.begin(), core.end()).size() == std::min(threads, cpus.size()));
        for (int cpu : core) ++count[cpu];
      }
      std::size_t least = SIZE_MAX, most = 0;
      for (int cpu : cpus) {
        EXPECT(ledger.booked(cpu) == count[cpu]);
        least = std::min(least, ledger.booked(cpu));
        most = std::max(most, ledger.booked(cpu));
      }
      EXPECT(most - least <= 1);
    }
    for (const auto& plan : plans) ledger.release(plan);
    for (int cpu : cpus) EXPECT(ledger.booked(cpu) == 0);
  }
}

TEST_CASE("bookings of one process know each other, and end with the object") {
  const std::vector<std::size_t> core{0};
  const std::vector<int> cpus{0, 1};
  cpu_booking first{core, 1, cpus};
  EXPECT(first.plan() == cpu_plan{{0}});
  {
    cpu_booking second{core, 1, cpus};
    EXPECT(second.plan() == cpu_plan{{1}});
  }
  cpu_booking third{core, 1, cpus};
  EXPECT(third.plan() == cpu_plan{{1}});
  cpu_booking moved{std::move(first)};
  EXPECT(moved.plan() == cpu_plan{{0}});
  third = std::move(moved);
  cpu_booking fourth{core, 1, cpus};
  EXPECT(fourth.plan() == cpu_plan{{1}});
}

TEST_CASE("a forked child starts with an empty ledger and its copies release nothing") {
  const std::vector<std::size_t> core{0};
  const std::vector<int> cpus{0, 1};
  cpu_booking parents{core, 1, cpus};
  test::child_process child{[&] {
    cpu_booking own{core, 1, cpus};
    parents = cpu_booking{core, 1, cpus};
    cpu_booking third{std::vector<std::size_t>{1}, 1, cpus};
    std::string booked;
    for (auto booking : {&own, &parents, &third}) booked += std::to_string(booking->plan()[0][0]);
    return booked;
  }};
  EXPECT(child.report() == "011");
}

TEST_CASE("the option cpus restricts the choice") {
  EXPECT(*choose_cpus({}, four_cpus) == four_cpus);
  EXPECT(*choose_cpus(std::vector<int>{3, 1}, four_cpus) == std::vector<int>{1, 3});
}

TEST_CASE("a CPU that the process may not use, or one listed twice, is refused with the usable ones") {
  const std::vector<int> usable{0, 1, 2, 5};
  for (const auto& option : {std::vector<int>{4}, std::vector<int>{0, -1}, std::vector<int>{1, 2, 1}}) {
    auto chosen = choose_cpus(option, usable);
    REQUIRE(chosen.has_error());
    EXPECT(chosen.error().code == errc::invalid_argument);
    EXPECT(chosen.error().text.find("0-2, 5") != std::string::npos);
  }
  EXPECT(choose_cpus(std::vector<int>{4}, usable).error().text.find("CPU 4") != std::string::npos);
}

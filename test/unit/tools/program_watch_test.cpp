#include <support/doctest.hpp>

#include <awake_clock.hpp>
#include <program_watch.hpp>

using namespace ganglion::command;
using namespace std::chrono_literals;

TEST_CASE("the module itself may take as long as it does") {
  program_watch watch;
  EXPECT(watch.program() == "");
  EXPECT_FALSE(watch.hangs(1h));
  watch.told("as_is", 1h);
  EXPECT(watch.program() == "as_is");
  EXPECT_FALSE(watch.hangs(3h));
}

TEST_CASE("a program has ten times what the module took, and 10 s at least") {
  program_watch watch;
  watch.told("frozen", 300ms);
  EXPECT(watch.program() == "frozen");
  EXPECT(watch.bound() == 10s);
  EXPECT_FALSE(watch.hangs(10299ms));
  EXPECT(watch.hangs(10301ms));
  watch.told("", 5s);  // what a program takes does not count
  EXPECT_FALSE(watch.hangs(1h));
  watch.told("as_is", 6s);
  watch.told("onednn", 8s);
  EXPECT(watch.bound() == 33s);
  EXPECT_FALSE(watch.hangs(40999ms));
  EXPECT(watch.hangs(41001ms));
}

TEST_CASE("each program has its time from when it was begun") {
  program_watch watch;
  watch.told("frozen", 2s);
  watch.told("onednn", 9s);
  EXPECT_FALSE(watch.hangs(28s));
  EXPECT(watch.hangs(30s));
}

TEST_CASE("the time in which the process was stopped is not its program's") {
  const auto start = awake_clock::time_point{} + 1h;
  awake_clock clock{start};
  program_watch watch;
  watch.told("frozen", clock.at(start + 500ms));
  EXPECT_FALSE(watch.hangs(clock.at(start + 1h)));
  for (auto second = 1s; second < 8s; second += 1s) EXPECT_FALSE(watch.hangs(clock.at(start + 1h + second)));
  EXPECT_FALSE(watch.hangs(clock.at(start + 1h + 7900ms)));
  EXPECT(watch.hangs(clock.at(start + 1h + 8100ms)));
}

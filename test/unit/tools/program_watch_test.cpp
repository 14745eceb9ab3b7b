#include <support/doctest.hpp>

#include <program_watch.hpp>

using namespace ganglion::command;
using namespace std::chrono_literals;

namespace {

const auto start = program_watch::time_point{} + 1h;

}  // namespace

TEST_CASE("the module itself may take as long as it does") {
  program_watch watch{start};
  EXPECT(watch.program() == "");
  EXPECT(!watch.deadline());
  watch.told("as_is", start + 1h);
  EXPECT(watch.program() == "as_is");
  EXPECT(!watch.deadline());
}

TEST_CASE("a program has ten times what the module took, and 10 s at least") {
  program_watch watch{start};
  watch.told("frozen", start + 300ms);
  EXPECT(watch.program() == "frozen");
  EXPECT(watch.bound() == 10s);
  EXPECT(watch.deadline() == start + 300ms + 10s);
  watch.told("", start + 5s);  // what a program takes does not count
  watch.told("as_is", start + 6s);
  watch.told("onednn", start + 8s);
  EXPECT(watch.bound() == 33s);
  EXPECT(watch.deadline() == start + 8s + 33s);
}

TEST_CASE("each program has its time from when it was begun") {
  program_watch watch{start};
  watch.told("frozen", start + 2s);
  watch.told("onednn", start + 9s);
  EXPECT(watch.deadline() == start + 9s + 20s);
}

#include <bench_ring.hpp>

#include <support/doctest.hpp>

using namespace ganglion::command;

TEST_CASE("a ring of threads passes the token round at least once, and ends") {
  thread_ring ring;
  const auto once = ring.round_trips(0);
  EXPECT(once.size() == 1);
  EXPECT(once[0] > 0);
  for (const auto seconds : ring.round_trips(0.01)) EXPECT(seconds > 0);
}

TEST_CASE("a ring that was never used ends too") { thread_ring ring; }

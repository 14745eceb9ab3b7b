#include "formation_world.hpp"

using namespace ganglion::test;

TEST_CASE("under any sequence of events no row is lost, doubled or given to another, and all bounds hold") {
  std::size_t well = 0, retried = 0, failed = 0, joined = 0, shared_failures = 0, refused = 0, written = 0,
              together = 0, unreported = 0, not_admitted = 0;
  for (std::uint32_t seed = 0; seed < 600; ++seed) {
    NOTE("seed " << seed);
    formation_world w{choices{seed}};
    for (int i = 0; i < 120; ++i) w.step();
    w.settle();
    well += w.answered_well;
    retried += w.retried;
    failed += w.failed;
    joined += w.joined;
    shared_failures += w.shared_failures;
    refused += w.refused;
    written += w.written;
    together += w.together;
    unreported += w.unreported;
    not_admitted += w.not_admitted;
  }
  // The sequences did reach what they are for.
  EXPECT(well > 1'000);
  EXPECT(retried > 200);
  EXPECT(failed > 1'000);
  EXPECT(joined > 1'000);
  EXPECT(shared_failures > 100);
  EXPECT(refused > 100);
  EXPECT(written > 300);
  EXPECT(together > 100);
  EXPECT(unreported > 200);
  EXPECT(not_admitted > 1'000);
}

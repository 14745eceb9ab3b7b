#include <ganglion/actors/supervisor/backoff.hpp>

#include <support/doctest.hpp>

#include <vector>

using namespace ganglion;
using namespace std::chrono_literals;

TEST_CASE("the delay doubles with each death in a row up to the most") {
  backoff b{{10ms, 100ms, 5s, 99}};
  std::vector<std::chrono::milliseconds> delays;
  for (int i = 0; i < 6; ++i) delays.push_back(b.died(0s));
  EXPECT(delays == std::vector<std::chrono::milliseconds>{10ms, 20ms, 40ms, 80ms, 100ms, 100ms});
}

TEST_CASE("the most is kept also after very many deaths") {
  backoff b{{10ms, 1s, 5s, 5}};
  for (int i = 0; i < 10'000; ++i) REQUIRE(b.died(0s) <= 1s);
}

TEST_CASE("a core that lived long enough starts from the first delay again") {
  backoff b{{10ms, 1s, 5s, 3}};
  b.died(0s);
  b.died(0s);
  EXPECT(b.died(4'999ms) == 40ms);
  EXPECT(b.lost());
  EXPECT(b.died(5s) == 10ms);
  EXPECT_FALSE(b.lost());
  EXPECT(b.deaths() == 1);
}

TEST_CASE("a core is lost at the configured number of deaths in a row") {
  backoff b{{10ms, 1s, 5s, 2}};
  EXPECT_FALSE(b.lost());
  b.died(0s);
  EXPECT_FALSE(b.lost());
  b.died(0s);
  EXPECT(b.lost());
}

TEST_CASE("a core that hangs again before it serves is lost at once, and waits ever longer") {
  backoff b{{10ms, 1000ms, 5s, 5, 60s}};
  EXPECT(b.died(1h) == 10ms);
  EXPECT_FALSE(b.lost());
  EXPECT(b.hung_again() == 160ms);
  EXPECT(b.lost());
  for (int i = 0; i < 8; ++i) b.hung_again();
  EXPECT(b.hung_again() == 60s);
  EXPECT(b.died(5s) == 10ms);
  EXPECT_FALSE(b.lost());
}

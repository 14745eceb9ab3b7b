#include <bench_schedule.hpp>

#include <support/doctest.hpp>

#include <cmath>
#include <set>
#include <vector>

using namespace ganglion::command;

namespace {

std::vector<double> gaps(double per_second, std::uint64_t seed, int count) {
  poisson_schedule schedule{per_second, seed};
  std::vector<double> result;
  double last = 0;
  for (int i = 0; i < count; ++i) {
    const auto at = std::chrono::duration<double>(schedule.next()).count();
    result.push_back(at - last);
    last = at;
  }
  return result;
}

}  // namespace

TEST_CASE("a seed gives the same arrivals each time, another seed gives others") {
  poisson_schedule a{1000, 7}, b{1000, 7}, c{1000, 8};
  int same_as_other_seed = 0;
  for (int i = 0; i < 100; ++i) {
    const auto at = a.next();
    EXPECT(at == b.next());
    same_as_other_seed += at == c.next();
  }
  EXPECT(same_as_other_seed == 0);
}

TEST_CASE("neighbouring seeds and measurements have no arrivals in common") {
  std::set<std::uint64_t> seeds;
  for (std::uint64_t given = 0; given < 50; ++given)
    for (std::uint64_t measurement = 0; measurement < 50; ++measurement) seeds.insert(seed_of(given, measurement));
  EXPECT(seeds.size() == 2500);
  EXPECT(seed_of(7, 3) == seed_of(7, 3));
}

TEST_CASE("arrivals come in order, at the mean rate") {
  constexpr int count = 100'000;
  double sum = 0;
  for (const auto gap : gaps(250, 1, count)) {
    EXPECT(gap >= 0);
    sum += gap;
  }
  EXPECT(count / sum == doctest::Approx(250).epsilon(0.02));
}

TEST_CASE("gaps are exponential: a share of 1/e is longer than the mean, 1/e^2 than twice the mean") {
  constexpr int count = 100'000;
  int longer = 0, twice = 0;
  for (const auto gap : gaps(100, 3, count)) {
    longer += gap > 0.01;
    twice += gap > 0.02;
  }
  EXPECT(static_cast<double>(longer) / count == doctest::Approx(std::exp(-1)).epsilon(0.02));
  EXPECT(static_cast<double>(twice) / count == doctest::Approx(std::exp(-2)).epsilon(0.03));
}

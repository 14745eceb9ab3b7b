#include <bench_search.hpp>

#include <support/doctest.hpp>

#include <algorithm>
#include <cmath>
#include <random>

using namespace ganglion::command;

namespace {

struct attempt {
  double rate;
  bool confirming;
  bool held;
};

/// Runs a search on a fake machine. `holds(rate, confirming)` is one measurement.
template <class Holds>
std::vector<attempt> run(rate_search& search, Holds holds) {
  std::vector<attempt> attempts;
  while (const auto rate = search.next()) {
    attempts.push_back({*rate, search.confirming(), holds(*rate, search.confirming())});
    search.tell(attempts.back().held);
    REQUIRE(attempts.size() < 1000);
  }
  return attempts;
}

/// The lowest rate that counts as one that does not hold: two tries in a row failed, or a confirmation.
double lowest_failed(const std::vector<attempt>& attempts) {
  auto lowest = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    const bool twice = i > 0 && !attempts[i].held && !attempts[i - 1].held && attempts[i].rate == attempts[i - 1].rate;
    if (!attempts[i].held && (attempts[i].confirming || twice)) lowest = std::min(lowest, attempts[i].rate);
  }
  return lowest;
}

}  // namespace

TEST_CASE("the search finds the limit to 2 %, from below and from above, and confirms it") {
  for (const double limit : {100.0, 93.0, 7.0, 1234.5}) {
    for (const double first : {100.0, 20.0, 300.0}) {
      rate_search search{{.first = first}};
      const auto attempts = run(search, [&](double rate, bool) { return rate <= limit; });
      NOTE("limit ", limit);
      NOTE("first ", first);
      EXPECT(search.found() <= limit);
      EXPECT(search.found() > limit / 1.0201);
      EXPECT(attempts.back().confirming);
      EXPECT(attempts.back().rate == search.found());
      EXPECT(!search.ran_out());
      EXPECT(attempts.size() <= 22);
    }
  }
}

TEST_CASE("where no rate holds the search ends and finds none") {
  rate_search search{{.first = 100}};
  const auto attempts = run(search, [](double, bool) { return false; });
  EXPECT(search.found() == 0);
  EXPECT(!search.ran_out());
  EXPECT(attempts.size() <= 14);
  EXPECT(attempts.back().rate >= 100.0 / 64);
}

TEST_CASE("where every rate holds the highest is found") {
  rate_search search{{.first = 100, .highest = 1500}};
  const auto attempts = run(search, [](double, bool) { return true; });
  EXPECT(search.found() == 1500);
  for (const auto& a : attempts) EXPECT(a.rate <= 1500);
  rate_search low{{.first = 100, .highest = 10}};
  run(low, [](double, bool) { return true; });
  EXPECT(low.found() == 10);
}

TEST_CASE("one bad moment of the machine does not lower the result") {
  // Each rate's first try fails, whatever it is.
  rate_search search{{.first = 50}};
  double last = 0;
  run(search, [&](double rate, bool confirming) {
    const bool again = rate == last || confirming;
    last = rate;
    return again && rate <= 100;
  });
  EXPECT(search.found() > 98);
}

TEST_CASE("a rate that held by luck and is not confirmed is taken back, a step at a time") {
  // Short tries hold up to 120, the long ones to 100.
  rate_search search{{.first = 60}};
  const auto attempts = run(search, [](double rate, bool confirming) { return rate <= (confirming ? 100 : 120); });
  EXPECT(search.found() <= 100);
  EXPECT(search.found() > 94);
  EXPECT(search.found() < lowest_failed(attempts));
}

TEST_CASE("whatever a machine answers: the search ends, and what is found was confirmed below all that does not hold") {
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    NOTE("seed ", seed);
    std::mt19937 random{seed};
    const auto noise = static_cast<double>(seed % 10) / 10;  // up to answers that mean nothing
    std::uniform_real_distribution<double> share{0, 1};
    rate_search search{{.first = 1 + 200 * share(random), .highest = 500}};
    const auto attempts = run(
        search, [&](double rate, bool) { return share(random) < noise ? share(random) < 0.5 : rate <= 100; });
    EXPECT(attempts.size() <= 40);
    for (const auto& a : attempts) {
      EXPECT(a.rate > 0);
      EXPECT(a.rate <= 500);
    }
    if (search.found() == 0) continue;
    EXPECT(attempts.back().confirming);
    EXPECT(attempts.back().held);
    EXPECT(attempts.back().rate == search.found());
    EXPECT(search.found() < lowest_failed(attempts));
  }
}

TEST_CASE("with noise around the limit the result stays within it") {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    NOTE("seed ", seed);
    std::mt19937 random{seed};
    std::uniform_real_distribution<double> limit{95, 105};
    rate_search search{{.first = 70}};
    run(search, [&](double rate, bool) { return rate <= limit(random); });
    EXPECT(search.found() > 88);
    EXPECT(search.found() <= 105);
  }
}

TEST_CASE("a search that has no tries left says so") {
  rate_search search{{.first = 1, .most_tries = 3}};
  run(search, [](double, bool) { return true; });
  EXPECT(search.ran_out());
  EXPECT(search.found() == 0);
}

TEST_CASE("a picture gets points from a tenth of the rate up to it, but none beside one that is there") {
  const auto all = rates_between(100, {});
  REQUIRE(all.size() == 8);
  EXPECT(all.front() == doctest::Approx(10));
  EXPECT(all.back() == doctest::Approx(100));
  EXPECT(std::is_sorted(all.begin(), all.end()));
  const auto rest = rates_between(100, {100, 51, 39});
  EXPECT(rest.size() == 6);
  for (const auto rate : rest) EXPECT(std::abs(rate - 39) > 1.9);
}

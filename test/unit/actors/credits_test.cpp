#include <ganglion/actors/batcher/batcher.hpp>
#include <ganglion/actors/batcher/credits.hpp>

#include <support/doctest.hpp>

#include <cmath>
#include <deque>
#include <limits>
#include <random>

using namespace ganglion;

TEST_CASE("a core always takes its executions, whatever they take") {
  credit_account account{{2, 0, 128}};
  EXPECT(account.accepts(1e9));
  account.take(1e9);
  EXPECT(account.accepts(1e9));
  account.take(1e9);
  EXPECT_FALSE(account.accepts(0.1));
  account.give_back(1e9);
  EXPECT(account.accepts(1e9));
}

TEST_CASE("beyond them a core takes work up to the measured seconds") {
  credit_account account{{2, 10, 128}};
  for (int i = 0; i < 5; ++i) {
    REQUIRE(account.accepts(2));
    account.take(2);
  }
  EXPECT_FALSE(account.accepts(2));
  EXPECT(account.accepts(0));
  EXPECT(account.executions() == 5);
  EXPECT(account.seconds() == 10);
}

TEST_CASE("a core never takes more than the most executions") {
  credit_account account{{2, 1, 4}};
  for (int i = 0; i < 4; ++i) {
    REQUIRE(account.accepts(0));
    account.take(0);
  }
  EXPECT_FALSE(account.accepts(0));
}

TEST_CASE("an account that gets everything back is empty again, without the crumbs of rounding") {
  credit_account account;
  std::mt19937 random(5);
  std::deque<double> out;
  for (int i = 0; i < 5'000; ++i) {
    if (random() % 2 == 0) {
      out.push_back(std::ldexp(static_cast<double>(random()), -40));
      account.take(out.back());
    } else if (!out.empty()) {
      account.give_back(out.front());
      out.pop_front();
    }
    REQUIRE(account.executions() == out.size());
    if (out.empty()) REQUIRE(account.seconds() == 0);
  }
}

TEST_CASE("credits that cannot be used are refused") {
  EXPECT(validate(batcher_config{}).has_value());
  EXPECT(validate(batcher_config{{1, 0, 1}}).has_value());
  for (credit_config bad : {credit_config{0, 1, 1}, credit_config{3, 1, 2}, credit_config{1, -1, 1},
                            credit_config{1, std::numeric_limits<double>::quiet_NaN(), 1}})
    EXPECT(validate(batcher_config{bad}).error().code == errc::invalid_argument);
}

TEST_CASE("a running mean is the fallback first, then the first sample, then follows the samples") {
  running_mean mean;
  EXPECT(mean.value_or(7) == 7);
  mean.add(10);
  EXPECT(mean.value_or(7) == 10);
  mean.add(20);
  EXPECT(mean.value_or(7) == doctest::Approx(12));
  for (int i = 0; i < 100; ++i) mean.add(3);
  EXPECT(mean.value_or(7) == doctest::Approx(3));
}

TEST_CASE("a running mean of zero is a mean") {
  running_mean mean;
  mean.add(0);
  EXPECT(mean.value_or(7) == 0);
}

TEST_CASE("a running mean takes no notice of a hiccup, and does of what comes again") {
  running_mean mean;
  mean.add(1);
  mean.add(40);
  EXPECT(mean.value_or(7) == 1);
  mean.add(1);
  mean.add(40);
  EXPECT(mean.value_or(7) == 1);
  mean.add(40);
  EXPECT(mean.value_or(7) > 8);
}

TEST_CASE("a running mean that was doubted for long starts anew with the next sample") {
  running_mean mean;
  mean.doubt(0.5);
  EXPECT(mean.value_or(7) == 7);
  mean.add(10);
  mean.doubt(0.95);
  EXPECT(mean.value_or(7) == doctest::Approx(9.5));
  mean.add(10);
  EXPECT(mean.value_or(7) == doctest::Approx(9.6));
  mean.doubt(0.5);
  mean.add(10);
  EXPECT(mean.value_or(7) == 10);
}

#include <ganglion/actors/batcher/admission.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>

#include <atomic>
#include <random>
#include <thread>

using namespace ganglion;

TEST_CASE("without options 65,536 rows and 1 GiB may wait") {
  EXPECT(admission_limits{}.max_queued_rows == 65'536);
  EXPECT(admission_limits{}.max_queued_bytes == std::int64_t{1} << 30);
}

TEST_CASE("limits must be positive") {
  EXPECT(validate(admission_limits{}).has_value());
  EXPECT(validate(admission_limits{1, 1}).has_value());
  EXPECT(validate(admission_limits{0, 1}).error().code == errc::invalid_argument);
  EXPECT(validate(admission_limits{1, 0}).error().code == errc::invalid_argument);
  EXPECT(contains(validate(admission_limits{-3, 1}).error().text, "max_queued_rows is -3"));
}

TEST_CASE("rows are let in up to the limit and refused beyond it") {
  admission gate{{10, 1'000}};
  EXPECT_FALSE(gate.enter(6, 60));
  EXPECT_FALSE(gate.enter(4, 40));
  auto refused = gate.enter(1, 10);
  REQUIRE(refused);
  EXPECT(refused->code == errc::queue_full);
  EXPECT(contains(refused->text, "10 rows wait and 1 more would pass max_queued_rows = 10"));
  EXPECT(gate.queued_rows() == 10);
  EXPECT(gate.queued_bytes() == 100);
  EXPECT(gate.unanswered() == 2);
}

TEST_CASE("requests of no rows are limited by how many are unanswered") {
  admission gate{{3, 1'000}};
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(gate.enter(0, 0));
  const auto refused = gate.enter(0, 0);
  REQUIRE(refused);
  EXPECT(refused->code == errc::queue_full);
  EXPECT(contains(refused->text, "3 requests are unanswered, and one more, of no rows, would pass max_queued_rows = 3"));
  EXPECT(gate.unanswered() == 3);
  gate.answered();
  EXPECT_FALSE(gate.enter(0, 0));
}

TEST_CASE("bytes are limited like rows") {
  admission gate{{1'000, 100}};
  EXPECT_FALSE(gate.enter(1, 60));
  auto refused = gate.enter(1, 41);
  REQUIRE(refused);
  EXPECT(refused->code == errc::queue_full);
  EXPECT(contains(refused->text, "60 bytes wait and 41 more would pass max_queued_bytes = 100"));
  EXPECT(gate.queued_rows() == 1);
  EXPECT_FALSE(gate.enter(1, 40));
}

TEST_CASE("a request that is larger than the limits is let in where nothing waits, and only there") {
  admission gate{{10, 100}};
  EXPECT_FALSE(gate.enter(1'000, 10'000));
  EXPECT(gate.enter(1, 1)->code == errc::queue_full);
  gate.leave_queue(1'000, 10'000);
  EXPECT_FALSE(gate.enter(1, 1));
  EXPECT(gate.enter(1'000, 1)->code == errc::queue_full);
}

TEST_CASE("rows that left the queue make room before their request is answered") {
  admission gate{{10, 1'000}};
  REQUIRE_FALSE(gate.enter(10, 10));
  gate.leave_queue(10, 10);
  EXPECT_FALSE(gate.enter(10, 10));
  EXPECT(gate.unanswered() == 2);
}

TEST_CASE("a closed gate refuses with draining and counts nothing") {
  admission gate;
  gate.close();
  auto refused = gate.enter(1, 1);
  REQUIRE(refused);
  EXPECT(refused->code == errc::draining);
  EXPECT(gate.queued_rows() == 0);
  EXPECT(gate.unanswered() == 0);
}

TEST_CASE("whoever waits for idle is called once, when the gate is closed and the last request answered") {
  admission gate;
  int called = 0;
  REQUIRE_FALSE(gate.enter(1, 1));
  REQUIRE_FALSE(gate.enter(1, 1));
  gate.when_idle([&] { ++called; });
  gate.answered();
  gate.answered();
  EXPECT(called == 0);  // nothing unanswered, but open
  REQUIRE_FALSE(gate.enter(1, 1));
  gate.close();
  EXPECT(called == 0);
  gate.answered();
  EXPECT(called == 1);
  gate.close();
  EXPECT(called == 1);
}

TEST_CASE("whoever comes when all is over is called at once") {
  admission gate;
  gate.close();
  int called = 0;
  gate.when_idle([&] { ++called; });
  gate.when_idle([&] { ++called; });
  EXPECT(called == 2);
}

TEST_CASE("a refused request does not hold up the end") {
  admission gate{{1, 1}};
  REQUIRE_FALSE(gate.enter(1, 1));
  REQUIRE(gate.enter(1, 1));
  gate.close();
  REQUIRE(gate.enter(1, 1));
  int called = 0;
  gate.when_idle([&] { ++called; });
  gate.answered();
  EXPECT(called == 1);
}

TEST_CASE("many threads at the gate keep its counts exact, and the end is told once after the last answer") {
  for (std::uint32_t round = 0; round < 30; ++round) {
    admission gate{{50, 200}};
    std::atomic<int> unanswered{0}, called{0}, too_early{0}, beyond{0};
    gate.when_idle([&] {
      ++called;
      if (unanswered != 0) ++too_early;
    });
    std::vector<std::thread> threads;
    for (std::uint32_t t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        std::mt19937 random(round * 11 + t);
        for (int i = 0; i < 400; ++i) {
          auto rows = 1 + static_cast<std::int64_t>(random() % 20);
          if (!gate.enter(rows, rows * 8)) {
            ++unanswered;
            if (gate.queued_rows() > 50 || gate.queued_bytes() > 200) ++beyond;
            gate.leave_queue(rows, rows * 8);
            --unanswered;
            gate.answered();
          }
          if (t == 0 && i == 300) gate.close();
        }
      });
    for (auto& t : threads) t.join();
    REQUIRE(gate.queued_rows() == 0);
    REQUIRE(gate.queued_bytes() == 0);
    REQUIRE(gate.unanswered() == 0);
    REQUIRE(called == 1);
    REQUIRE(too_early == 0);
    REQUIRE(beyond == 0);
  }
}

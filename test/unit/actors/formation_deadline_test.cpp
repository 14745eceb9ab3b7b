#include "formation_fixture.hpp"

#include <support/errors.hpp>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

TEST_CASE("a deadline that has passed is refused, and so is one that the measured executions cannot meet") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0});
  f.queue.expect_seconds(1, 0, 10e-3);
  f.queue.core_up(0);
  f.now += 1s;
  auto past = f.enqueue(d, 1, within(f.now));
  expect_failed(past, errc::deadline_exceeded);
  EXPECT(past.got->only().error.text ==
         "the deadline of the request has passed: give it more time, or send it earlier");
  auto too_short = f.enqueue(d, 1, within(f.now + 9ms));
  expect_failed(too_short, errc::deadline_exceeded);
  EXPECT(contains(too_short.got->only().error.text, "9 ms left, but 10 ms"));
  auto fits = f.enqueue(d, 1, within(f.now + 10ms));
  f.run_all();
  expect_answered(fits, 1);
  f.expect_all_gone();
}

TEST_CASE("what waits before a request counts for its deadline, what is less urgent does not") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0});
  f.queue.expect_seconds(1, 0, 10e-3);
  f.queue.core_up(0);
  f.enqueue(d, 4);
  f.pump();
  auto queued = f.enqueue(d, 40);  // ten executions
  expect_failed(f.enqueue(d, 1, within(f.now + 100ms)), errc::deadline_exceeded);
  auto urgent = within(f.now + 20ms);
  urgent.priority = priority::high;
  auto goes = f.enqueue(d, 1, urgent);
  EXPECT(goes.got->all.empty());
  f.run_all();
  expect_answered(goes, 1);
  expect_answered(queued, 40);
}

TEST_CASE("two cores wait half as long") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0, 1});
  f.queue.expect_seconds(1, 0, 10e-3);
  f.queue.core_up(0);
  auto options = within(f.now + 20ms);
  expect_failed(f.enqueue(d, 16, options), errc::deadline_exceeded);
  f.queue.core_up(1);
  auto r = f.enqueue(d, 16, options);
  f.run_all();
  expect_answered(r, 16);
}

TEST_CASE("rows that go with those of the batch that is open wait and run with them") {
  formation_fixture f{{1, 0, 1}, 15ms};
  auto d = f.add(1, 4, {0});
  f.queue.expect_seconds(1, 0, 10e-3);
  f.queue.core_up(0);
  f.enqueue(d, 4);
  f.pump();  // for 10 ms
  auto open = f.enqueue(d, 1);
  // Both go in the next execution, which begins in 10 ms and ends in 20.
  expect_failed(f.enqueue(d, 1, within(f.now + 19ms)), errc::deadline_exceeded);
  auto joins = f.enqueue(d, 1, within(f.now + 20ms));
  EXPECT(joins.got->all.empty());
  // What does not fit with them takes an execution more; a full batch before it is waited for.
  expect_failed(f.enqueue(d, 3, within(f.now + 29ms)), errc::deadline_exceeded);
  auto fills = f.enqueue(d, 2);
  expect_failed(f.enqueue(d, 1), errc::queue_full);  // 20 ms
  f.run_all();
  for (const auto* r : {&open, &joins}) expect_answered(*r, 1);
  expect_answered(fills, 2);
}

TEST_CASE("no more of a request's executions run at once than the cap allows") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0, 1}, 1);
  f.queue.expect_seconds(1, 0, 10e-3);
  for (std::size_t core : {0, 1}) f.queue.core_up(core);
  expect_failed(f.enqueue(d, 8, within(f.now + 15ms)), errc::deadline_exceeded);
  f.queue.set_num_workers(1, 2);
  auto r = f.enqueue(d, 8, within(f.now + 15ms));
  f.run_all();
  expect_answered(r, 8);
}

TEST_CASE("without a measurement only a deadline that has passed is refused") {
  formation_fixture f;
  auto d = f.add(1, 4, {0});
  f.queue.core_up(0);
  auto r = f.enqueue(d, 400, within(f.now + 1ns));
  EXPECT(r.got->all.empty());
  f.run_all();
  expect_answered(r, 400);
}

TEST_CASE("a deadline that passes while the request waits is answered then, and no row of it is begun") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0});
  f.queue.core_up(0);
  auto running = f.enqueue(d, 4);
  f.pump();
  auto r = f.enqueue(d, 3, within(f.now + 50ms));
  auto neighbour = f.enqueue(d, 1);
  REQUIRE(f.queue.due());
  EXPECT(*f.queue.due() == f.now + 50ms);
  f.wait(50ms - 1ns);
  EXPECT(r.got->all.empty());
  f.wait(1ns);
  expect_failed(r, errc::deadline_exceeded);
  EXPECT_FALSE(f.queue.due());
  f.finish(0);
  f.pump();
  EXPECT(f.contents(*f.held[0].front(), {r.id, neighbour.id}) == "1:1");
  f.run_all();
  expect_answered(neighbour, 1);
  f.expect_all_gone();
}

TEST_CASE("a deadline that passes while the request runs answers it, and what waits of it is not run") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0});
  f.queue.core_up(0);
  auto r = f.enqueue(d, 8, within(f.now + 50ms));
  f.pump();
  f.held[0].front()->parts[0].where->start(0);
  f.wait(50ms);
  expect_failed(r, errc::deadline_exceeded);
  f.finish(0);
  EXPECT(f.pump() == 0);
  f.expect_all_gone();
}

TEST_CASE("deadlines come in their own order, and those of answered requests never") {
  formation_fixture f;
  auto d = f.add(1, 1, {0});
  auto late = f.enqueue(d, 1, within(f.now + 100ms)), early = f.enqueue(d, 1, within(f.now + 50ms));
  auto none = f.enqueue(d, 1), cancelled = f.enqueue(d, 1, within(f.now + 10ms));
  f.queue.cancel(cancelled.id, {errc::cancelled, "x"});
  EXPECT(*f.queue.due() == f.now + 50ms);
  f.wait(50ms);
  expect_failed(early, errc::deadline_exceeded);
  EXPECT(*f.queue.due() == f.now + 50ms);
  f.queue.core_up(0);
  f.run_all();
  EXPECT_FALSE(f.queue.due());
  f.wait(1h);
  expect_answered(late, 1);
  expect_answered(none, 1);
  expect_failed(cancelled, errc::cancelled);
}

TEST_CASE("a request whose caller gave it up before it came is not queued") {
  formation_fixture f;
  auto d = f.add(1, 4, {0});
  auto r = make_request(d, 2, f.gate);
  r.value->plan(true, {});
  r.value->mark_cancelled();
  f.queue.enqueue(std::exchange(r.value, nullptr), f.now);
  expect_failed(r, errc::cancelled);
  f.expect_all_gone();
}

// -- limits -----------------------------------------------------------------------------------------------------------

TEST_CASE("beyond max_queue_time of expected waiting requests are refused with queue_full, and later there is room") {
  formation_fixture f{{1, 0, 1}, 30ms};
  auto d = f.add(1, 4, {0});
  f.queue.expect_seconds(1, 0, 10e-3);
  f.queue.core_up(0);
  f.enqueue(d, 4);
  f.pump();
  std::vector<sent_request> accepted;
  for (int i = 0; i < 3; ++i) accepted.push_back(f.enqueue(d, 4));
  auto refused = f.enqueue(d, 4);
  expect_failed(refused, errc::queue_full);
  EXPECT(retryable(refused.got->only().error.code));
  EXPECT(contains(refused.got->only().error.text, "40 ms is expected, which passes max_queue_time = 30 ms"));
  EXPECT(f.gate->queued_rows() == 12);
  f.finish(0, 0, 10ms);
  f.pump();
  accepted.push_back(f.enqueue(d, 4));
  f.run_all();
  for (const auto& r : accepted) expect_answered(r, 4);
  f.expect_all_gone();
}

TEST_CASE("a batch that is delayed goes early where a deadline in it would pass, with time to spare") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0}, {}, {.max_queue_delay = 100ms});
  f.queue.expect_seconds(1, 0, 10e-3);
  f.queue.core_up(0);
  auto first = f.enqueue(d, 1, within(f.now + 30ms));
  EXPECT(f.pump() == 0);
  REQUIRE(f.queue.due() == f.now + 13ms);  // 10 ms, half as much, and 2 ms
  EXPECT(f.wait(13ms - 1ns) == 0);
  EXPECT(f.wait(1ns) == 1);
  f.finish(0, 0, 10ms);
  expect_answered(first, 1);
  auto second = f.enqueue(d, 1, within(f.now + 10s));
  EXPECT(f.wait(100ms - 1ns) == 0);
  EXPECT(f.wait(1ns) == 1);
  f.finish(0, 0, 10ms);
  expect_answered(second, 1);
}

TEST_CASE("a delayed batch leaves in time for the program that it needs, and not for a request that is gone") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, std::vector<std::int64_t>{1, 64}, {0}, {}, {.max_queue_delay = 100ms});
  f.queue.core_up(0);
  for (auto [rows, took] : {std::pair{1, 5ms}, {64, 20ms}, {1, 5ms}}) {
    f.enqueue(d, rows);
    f.wait(100ms);
    f.finish(0, 0, took);
  }
  const auto begin = f.now;
  auto neighbours = f.enqueue(d, 40);
  auto hurried = f.enqueue(d, 1, within(begin + 60ms));
  EXPECT(f.pump() == 0);
  EXPECT(*f.queue.due() <= begin + 60ms - 20ms);  // it takes the larger program
  EXPECT(*f.queue.due() >= begin + 60ms - 40ms);
  SUBCASE("it leaves in time") {
    REQUIRE(f.wait(*f.queue.due() - f.now) == 1);
    EXPECT(f.held[0].front()->batch == 64);
    f.finish(0, 0, 20ms);
    expect_answered(hurried, 1);
  }
  SUBCASE("it is cancelled") {
    f.queue.cancel(hurried.id, {errc::cancelled, "x"});
    EXPECT(f.pump() == 0);
    EXPECT(*f.queue.due() == begin + 100ms);
    f.run_all();
  }
  SUBCASE("it has gone: those that come after it wait their time") {
    REQUIRE(f.wait(*f.queue.due() - f.now) == 1);
    auto after = f.enqueue(d, 1);
    f.finish(0, 0, 20ms);
    const auto now = f.now;
    EXPECT(f.pump() == 0);
    EXPECT(*f.queue.due() == now + 100ms);
    f.wait(100ms);
    f.run_all();
  }
}

// How long a request is expected to wait and to run: what max_queue_time and deadlines are judged by.
#include "formation_fixture.hpp"

#include <support/choices.hpp>
#include <support/errors.hpp>

#include <ganglion/actors/batcher/free_time.hpp>

#include <cmath>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

/// A model of one program of that batch on so many cores, of which an execution takes `seconds`; each core takes one at
/// a time.
struct measured_fixture : formation_fixture {
  std::shared_ptr<const deployment> model;

  measured_fixture(std::int64_t batch, std::size_t cores, double seconds,
                   std::optional<std::chrono::nanoseconds> max_queue_time = {}, std::optional<std::size_t> cap = {})
      : formation_fixture({1, 0, 1}, max_queue_time) {
    std::vector<std::size_t> all;
    for (std::size_t core = 0; core < cores; ++core) all.push_back(core);
    model = add(1, batch, all, cap);
    queue.expect_seconds(1, 0, seconds);
    for (auto core : all) queue.core_up(core);
  }
  sent_request with_value(std::int64_t value, request_options options = {}) {
    auto r = make_request(model, 1, gate, 0, std::move(options), 0, {value});
    r.value->plan(true, {});
    queue.enqueue(std::exchange(r.value, nullptr), now);
    return r;
  }
};

bool is_accepted(const sent_request& r) { return r.got->all.empty(); }

}  // namespace

TEST_CASE("what comes after some work begins when the cores were free for as long together") {
  EXPECT(free_after(std::vector{0.0, 100.0}, 0) == 0);
  EXPECT(free_after(std::vector{20.0, 10.0}, 0) == 10);
  EXPECT(free_after(std::vector{20.0, 10.0}, 5) == 15);
  EXPECT(free_after(std::vector{20.0, 10.0}, 20) == 25);
  EXPECT(free_after(std::vector{7.0}, 3) == 10);
  choices c{1};
  for (int i = 0; i < 1000; ++i) {
    std::vector<double> busy(1 + c.below(64));
    for (auto& b : busy) b = static_cast<double>(c.below(50));
    const auto work = static_cast<double>(c.below(400));
    const auto time = free_after(busy, work);
    double free = 0;
    for (auto b : busy) free += std::max(0.0, time - b);
    REQUIRE(free == doctest::Approx(work));
    REQUIRE(time >= *std::ranges::min_element(busy));
  }
}

TEST_CASE("where a core is idle nothing is waited for, however busy the others are") {
  measured_fixture f{1, 8, 100e-3, 20ms};
  for (int i = 0; i < 8; ++i) {
    EXPECT(is_accepted(f.enqueue(f.model, 1)));
    EXPECT(f.pump() == 1);
  }
  expect_failed(f.enqueue(f.model, 1), errc::queue_full);
  f.now += 81ms;
  EXPECT(is_accepted(f.enqueue(f.model, 1)));
  f.run_all();
}

TEST_CASE("executions that fail say nothing of how long the others take") {
  measured_fixture f{1, 1, 30e-3};
  auto is_in_time = [&] { return is_accepted(f.enqueue(f.model, 1, within(f.now + 3ms))); };
  EXPECT(!is_in_time());
  for (int i = 0; i < 30; ++i) {
    f.enqueue(f.model, 1);
    f.pump();
    f.fail(0);  // at once
  }
  EXPECT(!is_in_time());
}

TEST_CASE("a deadline is judged by the core that is free first") {
  measured_fixture f{1, 2, 100e-3};
  f.enqueue(f.model, 1);
  f.pump();
  f.now += 1ms;
  auto r = f.enqueue(f.model, 1, within(f.now + 100ms));
  EXPECT(is_accepted(r));
  expect_failed(f.enqueue(f.model, 1, within(f.now + 190ms)), errc::deadline_exceeded);
  f.run_all();
  expect_answered(r, 1);
}

TEST_CASE("of what runs only the rest counts") {
  measured_fixture f{1, 1, 100e-3, 50ms};
  f.enqueue(f.model, 1);
  f.pump();
  expect_failed(f.enqueue(f.model, 1), errc::queue_full);
  f.now += 95ms;
  expect_failed(f.enqueue(f.model, 1, within(f.now + 104ms)), errc::deadline_exceeded);
  EXPECT(is_accepted(f.enqueue(f.model, 1, within(f.now + 106ms))));
  f.now += 1h;  // it takes longer than any before: that makes nothing of what waits go faster
  expect_failed(f.enqueue(f.model, 1), errc::queue_full);
  f.run_all();
}

TEST_CASE("a model at its cap waits for its own, and one below it for nothing of others on cores that it does not need") {
  measured_fixture f{1, 2, 10e-3, {}, 1};
  auto other = f.add(2, 1, {1});
  f.queue.expect_seconds(2, 0, 1.0);
  f.enqueue(other, 1);
  f.pump();
  auto r = f.enqueue(f.model, 1, within(f.now + 10ms));
  EXPECT(is_accepted(r));
  f.pump();
  expect_failed(f.enqueue(f.model, 1, within(f.now + 15ms)), errc::deadline_exceeded);
  EXPECT(is_accepted(f.enqueue(f.model, 1, within(f.now + 20ms))));
  f.run_all();
}

TEST_CASE("the executions of one chunk follow each other on one core") {
  measured_fixture f{4, 2, 10e-3};
  expect_failed(f.enqueue(f.model, 40, within(f.now + 99ms), 40), errc::deadline_exceeded);
  EXPECT(is_accepted(f.enqueue(f.model, 40, within(f.now + 100ms), 40)));
  f.run_all();
}

TEST_CASE("rows that go with nobody's take executions of their own") {
  measured_fixture f{4, 1, 10e-3, 25ms};
  std::size_t accepted = 0;
  SUBCASE("for the values beside them") {
    for (int i = 0; i < 12; ++i, f.pump()) accepted += is_accepted(f.with_value(i));
    expect_failed(f.with_value(99, within(f.now + 30ms)), errc::deadline_exceeded);
  }
  SUBCASE("for their split_size") {
    for (int i = 0; i < 12; ++i, f.pump()) accepted += is_accepted(f.enqueue(f.model, 1, 1));
  }
  EXPECT(accepted == 3);  // one runs, and two begin in 10 and 20 ms
  f.run_all();
}

TEST_CASE("each chunk of a split_size is an execution") {
  measured_fixture f{4, 1, 10e-3};
  expect_failed(f.enqueue(f.model, 40, within(f.now + 399ms), 1), errc::deadline_exceeded);
  EXPECT(is_accepted(f.enqueue(f.model, 40, within(f.now + 400ms), 1)));
  f.run_all();
}

TEST_CASE("without dynamic batching what is exact runs, not what is cheapest") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, std::vector<std::int64_t>{2, 4}, {0});
  f.queue.core_up(0);
  for (auto [rows, took] : {std::pair{2, 30ms}, {4, 10ms}}) {  // the smaller one takes longer
    f.enqueue(d, rows, std::nullopt, false);
    f.pump();
    f.finish(0, 0, took);
  }
  auto exact = [&f, &d](std::chrono::milliseconds time) {
    auto r = make_request(d, 2, f.gate, 0, within(f.now + time));
    r.value->plan(false, {});
    f.queue.enqueue(std::exchange(r.value, nullptr), f.now);
    return r;
  };
  expect_failed(exact(25ms), errc::deadline_exceeded);
  auto r = exact(30ms);
  f.run_all();
  expect_answered(r, 2);
}

TEST_CASE("an estimate that turns everybody away from an idle model does not do so for ever") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0});
  f.queue.expect_seconds(1, 0, 200e-3);  // measured while the machine was busy with other things
  f.queue.core_up(0);
  int refused = 0;
  for (; refused < 10'000; ++refused) {
    auto r = f.enqueue(d, 1, within(f.now + 20ms));
    if (!r.got->all.empty()) continue;
    f.pump();
    f.finish(0, 0, 5ms);
    expect_answered(r, 1);
    break;
  }
  EXPECT(refused > 0);
  EXPECT(refused < 500);
  auto r = f.enqueue(d, 1, within(f.now + 6ms));
  f.run_all();
  expect_answered(r, 1);
}

TEST_CASE("what waits for other cores does not count for a deadline") {
  formation_fixture f{{1, 0, 1}};
  auto busy = f.add(1, 4, {0}), other = f.add(2, 4, {1});
  for (std::uint64_t id : {1, 2}) f.queue.expect_seconds(id, 0, 10e-3);
  for (std::size_t core : {0, 1}) f.queue.core_up(core);
  f.enqueue(busy, 400);
  f.pump();
  expect_failed(f.enqueue(busy, 1, within(f.now + 50ms)), errc::deadline_exceeded);
  auto r = f.enqueue(other, 1, within(f.now + 10ms));
  f.run_all();
  expect_answered(r, 1);
}

TEST_CASE("of a model that shares the cores no more counts for a deadline than its turn, unless it is more urgent") {
  formation_fixture f{{1, 0, 1}};
  auto busy = f.add(1, 4, {0}), other = f.add(2, 4, {0});
  for (std::uint64_t id : {1, 2}) f.queue.expect_seconds(id, 0, 10e-3);
  f.queue.core_up(0);
  f.enqueue(busy, 400);
  f.pump();
  auto r = f.enqueue(other, 1, within(f.now + 30ms));  // what runs, a turn of the other, and its own
  EXPECT(r.got->all.empty());
  request_options urgent;
  urgent.priority = priority::high;
  f.enqueue(busy, 40, urgent);
  expect_failed(f.enqueue(other, 1, within(f.now + 50ms)), errc::deadline_exceeded);
  f.run_all();
  expect_answered(r, 1);
}

TEST_CASE("a tenant's flood counts for the deadlines of others only as far as it goes before them") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0});
  f.queue.expect_seconds(1, 0, 10e-3);
  f.queue.core_up(0);
  request_options flood;
  flood.tenant = "flood";
  f.enqueue(d, 400, flood);
  f.pump();
  auto options = within(f.now + 40ms);
  options.tenant = "flood";
  expect_failed(f.enqueue(d, 1, options), errc::deadline_exceeded);
  options.tenant = "other";
  auto r = f.enqueue(d, 1, options);
  f.pump();
  f.finish(0);
  f.pump();
  f.finish(0);
  f.pump();
  f.finish(0);
  expect_answered(r, 1);
  f.run_all();
}

TEST_CASE("the rest of a chunk that is bound to a core counts for a deadline, and so does the cap on executions") {
  formation_fixture f{{1, 0, 1}};
  auto d = f.add(1, 4, {0, 1}, 1);
  f.queue.expect_seconds(1, 0, 10e-3);
  for (std::size_t core : {0, 1}) f.queue.core_up(core);
  f.enqueue(d, 40, 40);  // one chunk of ten executions on one core
  f.pump();
  expect_failed(f.enqueue(d, 1, within(f.now + 90ms)), errc::deadline_exceeded);
  auto r = f.enqueue(d, 1, within(f.now + 120ms));
  EXPECT(r.got->all.empty());
  f.run_all();
  expect_answered(r, 1);
}

// -- the same under any traffic ---------------------------------------------------------------------------------------

namespace {

/// Requests of one class come at random to cores whose executions take what was measured, no more and no less.
class exact_world {
 public:
  explicit exact_world(std::uint32_t seed)
      : choices_(seed),
        batch_(1 + static_cast<std::int64_t>(choices_.below(8))),
        limit_(std::chrono::milliseconds(5 + choices_.below(60))),
        f_(batch_, 1 + choices_.below(4), seconds, limit_) {}

  void run() {
    for (int i = 0; i < 150; ++i) {
      send();
      pass(std::chrono::microseconds(choices_.below(static_cast<std::size_t>(6'000))));
    }
    while (f_.queue.executions_in_flight() > 0) pass(10ms);
    for (const auto& r : sent_) judge(r);
    f_.expect_all_gone();
  }

  std::size_t full = 0, expected_late = 0, late = 0, in_time = 0;

 private:
  static constexpr double seconds = 10e-3;
  struct record {
    sent_request request;
    clock::time_point came;
    bool was_idle;  // a core was idle and nothing waited
    std::optional<clock::time_point> deadline;
  };

  void send() {
    auto rows = 1 + static_cast<std::int64_t>(choices_.below(2 * static_cast<std::size_t>(batch_)));
    request_options options;
    if (choices_.below(2) == 0) options.deadline = f_.now + std::chrono::milliseconds(choices_.below(80));
    const bool idle = f_.gate->queued_rows() == 0 && busy_.size() < f_.model->cores.size();
    record r{{}, f_.now, idle, options.deadline};
    const auto kind = choices_.below(4);
    if (kind == 0) {
      r.request = f_.with_value(static_cast<std::int64_t>(choices_.below(3)), std::move(options));
    } else {
      auto split = kind == 1 ? std::optional{1 + static_cast<std::int64_t>(choices_.below(4))} : std::nullopt;
      r.request = f_.enqueue(f_.model, rows, std::move(options), split);
    }
    sent_.push_back(std::move(r));
    pump();
  }

  void pump() {
    f_.pump();
    for (const auto& [core, held] : f_.held)
      if (!held.empty() && busy_.emplace(core, f_.now + 10ms).second) {
        for (const auto& p : held.front()->parts) begun_.emplace(p.owner->id(), f_.now);
      }
  }
  void pass(std::chrono::nanoseconds time) {
    for (const auto end = f_.now + time; f_.now < end;) {
      auto next = end;
      for (const auto& [core, until] : busy_) next = std::min(next, until);
      if (auto due = f_.queue.due()) next = std::min(next, std::max(*due, f_.now));
      f_.now = next;
      for (auto core = busy_.begin(); core != busy_.end();) {
        if (core->second > f_.now) {
          ++core;
          continue;
        }
        f_.finish(core->first, 0, 10ms);
        core = busy_.erase(core);
      }
      pump();
      if (next == end) break;
    }
  }

  void judge(const record& r) {
    REQUIRE(r.request.got->once());
    const auto code = r.request.got->only().code();
    const bool began = begun_.contains(r.request.id);
    if (code == errc::queue_full) {
      ++full;
      REQUIRE_FALSE(r.was_idle);  // nobody is refused for a wait that there is not
    } else if (code == errc::deadline_exceeded && !began &&
               contains(r.request.got->only().error.text, "are expected")) {
      ++expected_late;
      if (r.was_idle) REQUIRE(*r.deadline < r.came + 10ms * (2 * batch_));
    } else {
      // What was let in begins within the limit, but for an execution that nobody could foresee.
      if (began) REQUIRE(begun_.at(r.request.id) <= r.came + limit_ + 10ms);
      if (r.deadline) ++(code == errc::ok ? in_time : late);
    }
  }

  choices choices_;
  std::int64_t batch_;
  std::chrono::nanoseconds limit_;
  measured_fixture f_;
  std::vector<record> sent_;
  std::map<std::size_t, clock::time_point> busy_;
  std::map<std::uint64_t, clock::time_point> begun_;
};

}  // namespace

TEST_CASE("under any traffic nobody is refused for a wait that there is not, and who is let in waits no longer") {
  std::size_t full = 0, expected_late = 0, late = 0, in_time = 0;
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    NOTE("seed " << seed);
    exact_world w{seed};
    w.run();
    full += w.full;
    expected_late += w.expected_late;
    late += w.late;
    in_time += w.in_time;
  }
  NOTE(full << " full, " << expected_late << " expected to be late, " << late << " late, " << in_time << " in time");
  EXPECT(full > 1'000);
  EXPECT(expected_late > 1'000);
  EXPECT(in_time > 1'000);
  EXPECT(late * 15 < in_time);  // rows of other values, or in other pieces, are not foreseen exactly
}

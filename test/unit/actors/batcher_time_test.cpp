// The batcher's clock: delays and deadlines in simulated time.
#include <support/deterministic_system.hpp>
#include <support/probe.hpp>
#include <support/puppet_lane.hpp>
#include <support/requests.hpp>

#include <ganglion/actors/batcher/batcher.hpp>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

struct timed_batcher {
  deterministic_system system;
  probe parent{system}, client{system}, core{system};
  std::shared_ptr<admission> gate = std::make_shared<admission>();
  std::shared_ptr<const deployment> target;
  puppet_lanes lanes;
  batcher_actor subject;

  explicit timed_batcher(coalescing_options options = {}, credit_config credits = {1, 0, 1})
      : timed_batcher(deployment_of_buckets({{4}}, 5, {0}, options), {}, {credits, {}}) {}
  /// `seconds`: what the programs are expected to take.
  timed_batcher(std::shared_ptr<const deployment> d, std::vector<double> seconds, batcher_config config)
      : target(std::move(d)), subject(spawn_batcher(parent.parent(), std::move(config))) {
    client.send(subject, add_deployment{target, {}, {std::move(seconds), true}});
    client.send(subject, core_up{0, core.as<core_actor>()});
  }
  ~timed_batcher() { system.end(subject); }

  sent_request enqueue_rows(std::int64_t rows, std::optional<std::chrono::nanoseconds> time_left = {}) {
    request_options options;
    if (time_left) options.deadline = system.now() + *time_left;
    return enqueue_rows(rows, std::move(options));
  }
  sent_request enqueue_rows(std::int64_t rows, request_options options) {
    auto r = make_request(target, rows, gate, 0, std::move(options));
    r.value->plan(true, {});
    client.send(subject, enqueue{std::exchange(r.value, nullptr)});
    return r;
  }
  void cancel(const sent_request& r) { client.send(subject, withdraw{r.id, {errc::cancelled, "x"}, {}}); }
  execution_ptr started() { return core.expect<start_execution>().work; }
  void finish() { finish(started()); }
  void finish(const execution_ptr& work) {
    auto reports = std::make_shared<const std::vector<execution_report>>(1, lanes.complete(work, 0));
    client.send(subject, executions_done{0, reports});
  }
  /// Ends what runs. Returns which request the next execution is for.
  std::uint64_t next_owner() {
    finish(std::exchange(running_, nullptr));
    running_ = started();
    return running_->parts.front().owner->id();
  }
  /// Four rows that keep the core busy until `next_owner`.
  void keep_busy() {
    enqueue_rows(4);
    running_ = started();
  }
  void end() { finish(std::exchange(running_, nullptr)); }

 private:
  execution_ptr running_;
};

request_options of(priority p, std::string tenant = "") {
  request_options options;
  options.priority = p;
  options.tenant = std::move(tenant);
  return options;
}

void expect_code(const sent_request& r, errc code) {
  REQUIRE(r.got->once());
  EXPECT(to_string(r.got->only().error.code) == to_string(code));
}

}  // namespace

TEST_CASE("batcher: a batch that is not full goes when its delay has passed, not a tick later or earlier") {
  timed_batcher f{{.max_queue_delay = 10ms}};
  auto a = f.enqueue_rows(1);
  f.system.advance(5ms);
  auto b = f.enqueue_rows(1);
  f.system.advance(5ms - 1ns);
  f.core.expect_none();
  f.system.advance(1ns);
  f.finish();
  expect_code(a, errc::ok);
  expect_code(b, errc::ok);
  auto c = f.enqueue_rows(1);
  f.system.advance(9ms);
  f.core.expect_none();
  f.system.advance(1ms);
  f.finish();
  expect_code(c, errc::ok);
}

TEST_CASE("batcher: a deadline is answered when it has come, and not before, whether the request waits or runs") {
  timed_batcher f;
  auto running = f.enqueue_rows(4, 100ms), waiting = f.enqueue_rows(4, 50ms);
  f.system.advance(50ms - 1ns);
  EXPECT(waiting.got->all.empty());
  f.system.advance(1ns);
  expect_code(waiting, errc::deadline_exceeded);
  f.system.advance(50ms - 1ns);
  EXPECT(running.got->all.empty());
  f.system.advance(1ns);
  expect_code(running, errc::deadline_exceeded);
  f.finish();
  EXPECT(f.gate->unanswered() == 0);
}

TEST_CASE("batcher: an earlier deadline that comes later is met too, and a tick too many does nothing") {
  timed_batcher f;
  auto running = f.enqueue_rows(4);
  auto late = f.enqueue_rows(4, 100ms), early = f.enqueue_rows(4, 50ms);
  for (int i = 0; i < 3; ++i) f.client.send(f.subject, batcher_tick{});
  f.system.advance(50ms);
  expect_code(early, errc::deadline_exceeded);
  EXPECT(late.got->all.empty());
  f.system.advance(50ms);
  expect_code(late, errc::deadline_exceeded);
  f.finish();
  expect_code(running, errc::ok);
}

TEST_CASE("batcher: however many deadlines pass before a far one, no more than two of its timers run") {
  timed_batcher f;
  auto far = f.enqueue_rows(4, 1h);
  for (int i = 0; i < 20; ++i) {
    auto near = f.enqueue_rows(4, 10ms);
    EXPECT(f.system.timers() <= 2);
    f.system.advance(10ms);
    expect_code(near, errc::deadline_exceeded);
  }
  f.finish();
  expect_code(far, errc::ok);
}

TEST_CASE("batcher: the deadline of an answered request does nothing, and holds up no end") {
  timed_batcher f;
  auto r = f.enqueue_rows(4, 1h);
  f.finish();
  expect_code(r, errc::ok);
  f.system.advance(2h);
  EXPECT(r.got->once());
}

TEST_CASE("batcher: a delay for which nobody waits any more asks for nothing, whatever took the rows away") {
  timed_batcher f{{.max_queue_delay = 10ms}};
  auto late = f.enqueue_rows(1, 5ms);
  f.system.advance(5ms);
  expect_code(late, errc::deadline_exceeded);
  auto cancelled = f.enqueue_rows(1);
  f.client.send(f.subject, withdraw{cancelled.id, {errc::cancelled, "x"}, {}});
  expect_code(cancelled, errc::cancelled);
  f.system.advance(10ms);
  // A batcher that went on asking would let time pass in steps of nothing.
  auto messages = f.system.run();
  EXPECT(messages == 0);
  f.system.advance_alone(1h);
  EXPECT(f.system.run() == 0);
}

TEST_CASE("batcher: when admission is closed a batch that waits for its delay goes at once") {
  timed_batcher f{{.max_queue_delay = 1h}};
  auto r = f.enqueue_rows(1);
  f.core.expect_none();
  f.client.send(f.subject, admission_closed{});
  f.finish();
  expect_code(r, errc::ok);
}

TEST_CASE("batcher: what waits rises by a class with each time of ageing, and not a tick before") {
  for (auto early : {1ns, 0ns}) {
    NOTE(early.count());
    timed_batcher f{{.ageing = 10ms}};
    f.keep_busy();
    auto low = f.enqueue_rows(4, of(priority::low));
    f.system.advance(20ms - early);
    auto high = f.enqueue_rows(4, of(priority::high));
    // Of one class and tenant the one that came first is first.
    EXPECT(f.next_owner() == (early.count() > 0 ? high.id : low.id));
    EXPECT(f.next_owner() == (early.count() > 0 ? low.id : high.id));
    f.end();
    expect_code(low, errc::ok);
    expect_code(high, errc::ok);
  }
}

TEST_CASE("batcher: a tenant that floods it gets no more rows than another of its class that has work") {
  timed_batcher f;
  f.keep_busy();
  auto flood = f.enqueue_rows(400, of(priority::normal, "flood"));
  auto quiet = f.enqueue_rows(40, of(priority::normal, "quiet"));
  std::map<std::uint64_t, int> executions;
  for (int i = 0; i < 20; ++i) ++executions[f.next_owner()];
  EXPECT(executions[quiet.id] == 10);
  EXPECT(executions[flood.id] == 10);
  EXPECT(f.next_owner() == flood.id);
  expect_code(quiet, errc::ok);
  f.cancel(flood);
  f.end();
  expect_code(flood, errc::cancelled);
}

TEST_CASE("batcher: a request is cancelled at every stage, and who shares its execution gets its answer") {
  for (std::string stage : {"waits", "bound", "runs", "half done"}) {
    NOTE(stage);
    timed_batcher f{{}, {2, 0, 2}};
    auto first = f.enqueue_rows(4);
    auto running = f.started();
    if (stage == "waits") f.enqueue_rows(4);  // takes the second credit
    std::optional<execution_ptr> second;
    if (stage == "waits") second = f.started();
    auto r = f.enqueue_rows(6), neighbour = f.enqueue_rows(2);
    if (stage == "waits") {
      f.core.expect_none();
    } else {
      second = f.started();
      f.finish(running);
      running = *second;           // four rows of it
      second = f.started();        // its other two, and the neighbour's
      if (stage != "bound")
        for (const auto& p : running->parts) p.where->start(p.attempt);
      if (stage == "half done") f.finish(std::exchange(running, nullptr));
    }
    f.cancel(r);
    expect_code(r, errc::cancelled);
    EXPECT(neighbour.got->all.empty());
    if (running) f.finish(running);
    f.finish(*second);
    if (stage == "waits") {
      auto alone = f.started();
      EXPECT(alone->rows() == 2);
      f.finish(alone);
    }
    f.core.expect_none();
    EXPECT(r.got->once());
    expect_code(first, errc::ok);
    expect_code(neighbour, errc::ok);
    EXPECT(f.gate->unanswered() == 0);
    EXPECT(f.gate->queued_rows() == 0);
  }
}

// -- what is expected, and which program runs -------------------------------------------------------------------------

TEST_CASE("batcher: a deadline that the measured executions cannot meet is refused at once") {
  timed_batcher f{deployment_of_buckets({{4}}, 5, {0}), {10e-3}, {{1, 0, 1}, {}}};
  f.keep_busy();
  expect_code(f.enqueue_rows(1, 20ms - 1ns), errc::deadline_exceeded);
  auto fits = f.enqueue_rows(1, 20ms);
  EXPECT(fits.got->all.empty());
  f.end();
  f.finish();
  expect_code(fits, errc::ok);
}

TEST_CASE("batcher: a wait beyond max_queue_time is queue_full at once, and what was measured since counts") {
  timed_batcher f{deployment_of_buckets({{4}}, 5, {0}), {10e-3}, {{1, 0, 1}, 15ms}};
  f.keep_busy();
  auto waits = f.enqueue_rows(4);
  expect_code(f.enqueue_rows(1), errc::queue_full);
  EXPECT(waits.got->all.empty());
  f.end();  // it took 1 ms
  auto fits = f.enqueue_rows(1);
  EXPECT(fits.got->all.empty());
  f.finish();
  f.finish();
  expect_code(fits, errc::ok);
}

TEST_CASE("batcher: rows of a lower class fill what would be padding") {
  timed_batcher f;
  f.keep_busy();
  auto low = f.enqueue_rows(3, of(priority::low)), high = f.enqueue_rows(2, of(priority::high));
  f.end();
  auto work = f.started();
  EXPECT(work->padding_rows() == 0);
  REQUIRE(work->parts.size() == 2);
  EXPECT(work->parts[0].owner->id() == high.id);
  EXPECT(work->parts[1].owner->id() == low.id);
  f.finish(work);
  expect_code(high, errc::ok);
  f.finish();
  expect_code(low, errc::ok);
}

TEST_CASE("batcher: of several programs the one runs that is cheapest by what was measured") {
  for (double of_two : {1e-3, 20e-3}) {
    timed_batcher f{deployment_of(plus_one_for({{2, 2}, {8, 2}}), 5, {0}), {of_two, 10e-3}, {{1, 0, 1}, {}}};
    auto r = f.enqueue_rows(2);
    auto work = f.started();
    EXPECT(work->batch == (of_two < 10e-3 ? 2 : 8));
    f.finish(work);
    expect_code(r, errc::ok);
  }
}

TEST_CASE("batcher: deterministic runs the largest program, however cheap another is and whatever else waits") {
  auto target = *deployment_of(plus_one_for({{2, 2}, {8, 2}}), 5, {0});
  target.coalescing.deterministic = true;
  timed_batcher f{std::make_shared<const deployment>(target), {1e-3, 10e-3}, {{1, 0, 1}, {}}};
  for (const std::int64_t rows : {1, 2, 8, 11}) {
    auto r = f.enqueue_rows(rows);
    for (std::int64_t left = rows; left > 0; left -= 8) {
      auto work = f.started();
      EXPECT(work->batch == 8);
      f.finish(work);
    }
    expect_code(r, errc::ok);
  }
}

TEST_CASE("batcher: the buckets of a deployment have queues of their own, and take turns") {
  timed_batcher f{deployment_of_buckets({{4}, {4}}, 5, {0}), {1e-3}, {{1, 0, 1}, {}}};
  f.keep_busy();
  auto enqueue_in = [&](std::size_t bucket) {
    auto r = make_request(f.target, 4, f.gate, 0, {}, bucket);
    r.value->plan(true, {});
    f.client.send(f.subject, enqueue{std::exchange(r.value, nullptr)});
    return r;
  };
  auto a = enqueue_in(0), b = enqueue_in(0), other = enqueue_in(1);
  EXPECT(f.next_owner() == a.id);  // the other came when the first had had one
  EXPECT(f.next_owner() == other.id);
  EXPECT(f.next_owner() == b.id);
  f.end();
  expect_code(other, errc::ok);
}

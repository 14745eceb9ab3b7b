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

struct fixture {
  deterministic_system system;
  probe parent{system}, client{system}, core{system};
  std::shared_ptr<admission> gate = std::make_shared<admission>();
  std::shared_ptr<const deployment> target;
  puppet_lanes lanes;
  batcher_actor subject = spawn_batcher(parent.parent(), {{1, 0, 1}, {}});

  explicit fixture(coalescing_options options = {}) {
    auto d = *deployment_of(plus_one_model(4), 5, {0});
    d.coalescing = options;
    target = std::make_shared<const deployment>(std::move(d));
    client.send(subject, add_deployment{target, {}, {}});
    client.send(subject, core_up{0, core.as<core_actor>()});
  }
  ~fixture() { system.end(subject); }

  sent_request enqueue_rows(std::int64_t rows, std::optional<std::chrono::nanoseconds> time_left = {}) {
    request_options options;
    if (time_left) options.deadline = system.now() + *time_left;
    auto r = make_request(target, rows, gate, 0, std::move(options));
    r.value->plan(true, {});
    client.send(subject, enqueue{std::exchange(r.value, nullptr)});
    return r;
  }
  void finish() {
    auto work = core.expect<start_execution>().work;
    auto reports = std::make_shared<const std::vector<execution_report>>(1, lanes.complete(work, 0));
    client.send(subject, executions_done{0, reports});
  }
};

void expect_code(const sent_request& r, errc code) {
  REQUIRE(r.got->once());
  EXPECT(to_string(r.got->only().error.code) == to_string(code));
}

}  // namespace

TEST_CASE("batcher: a batch that is not full goes when its delay has passed, not a tick later or earlier") {
  fixture f{{.max_queue_delay = 10ms}};
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
  fixture f;
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

TEST_CASE("batcher: an earlier deadline that comes later is met too, and a stale tick does nothing") {
  fixture f;
  auto running = f.enqueue_rows(4);
  auto late = f.enqueue_rows(4, 100ms), early = f.enqueue_rows(4, 50ms);
  for (std::uint64_t generation : {0, 1, 77}) f.client.send(f.subject, batcher_tick{generation});
  f.system.advance(50ms);
  expect_code(early, errc::deadline_exceeded);
  EXPECT(late.got->all.empty());
  f.system.advance(50ms);
  expect_code(late, errc::deadline_exceeded);
  f.finish();
  expect_code(running, errc::ok);
}

TEST_CASE("batcher: the deadline of an answered request does nothing, and holds up no end") {
  fixture f;
  auto r = f.enqueue_rows(4, 1h);
  f.finish();
  expect_code(r, errc::ok);
  f.system.advance(2h);
  EXPECT(r.got->once());
}

TEST_CASE("batcher: a delay for which nobody waits any more asks for nothing, whatever took the rows away") {
  fixture f{{.max_queue_delay = 10ms}};
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

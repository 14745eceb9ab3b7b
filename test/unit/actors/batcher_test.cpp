#include <support/deterministic_system.hpp>
#include <support/probe.hpp>
#include <support/puppet_lane.hpp>
#include <support/requests.hpp>

#include <ganglion/actors/batcher/batcher.hpp>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

/// A batcher between a client and the doubles of two cores.
struct batcher_fixture {
  deterministic_system system;
  probe parent{system}, client{system}, core0{system}, core1{system};
  std::shared_ptr<admission> gate = std::make_shared<admission>();
  std::shared_ptr<const deployment> target = deployment_of(plus_one_model(4), 5, {0, 1});
  puppet_lanes lanes;
  batcher_actor subject = spawn_batcher(parent.parent(), {{1, 0, 1}, {}});

  batcher_fixture() { client.send(subject, add_deployment{target, {}, {{1e-3}, true}}); }
  ~batcher_fixture() { system.end(subject); }

  probe& core(std::size_t i) { return i == 0 ? core0 : core1; }
  void up(std::size_t i) { client.send(subject, core_up{i, core(i).as<core_actor>()}); }
  sent_request enqueue_rows(std::int64_t rows) {
    auto r = make_request(target, rows, gate);
    r.value->plan(true, {});
    client.send(subject, enqueue{r.value});
    return r;
  }
  void done(std::size_t i, const execution_ptr& work) {
    auto reports = std::make_shared<const std::vector<execution_report>>(1, lanes.complete(work, i));
    client.send(subject, executions_done{i, reports});
  }
  /// Lets a core do what it was given.
  void finish(std::size_t i) { done(i, core(i).expect<start_execution>().work); }
};

void expect_ok(const sent_request& r) {
  REQUIRE(r.got->once());
  EXPECT(r.got->only().ok());
}
void expect_failed(const sent_request& r, errc code) {
  REQUIRE(r.got->once());
  EXPECT(to_string(r.got->only().error.code) == to_string(code));
}

}  // namespace

TEST_CASE("batcher: work goes to a core when it is there, and the next when credits come back") {
  batcher_fixture f;
  auto r = f.enqueue_rows(8);
  f.core0.expect_none();
  f.up(0);
  auto work = f.core0.expect<start_execution>().work;
  f.core0.expect_none();
  f.done(0, work);
  f.finish(0);
  expect_ok(r);
}

TEST_CASE("batcher: reports that come in bulk give all their credits back") {
  batcher_fixture f;
  f.up(0);
  f.up(1);
  auto r = f.enqueue_rows(16);
  auto a = f.core0.expect<start_execution>().work;
  auto b = f.core1.expect<start_execution>().work;
  f.done(1, b);
  f.done(0, a);
  f.finish(1);
  f.finish(0);
  expect_ok(r);
}

TEST_CASE("batcher: a duplicate report changes nothing") {
  batcher_fixture f;
  f.up(0);
  auto r = f.enqueue_rows(12);
  auto work = f.core0.expect<start_execution>().work;
  f.done(0, work);
  f.done(0, work);
  f.finish(0);
  f.core0.expect<start_execution>();
  f.core0.expect_none();
  EXPECT(r.got->all.empty());
}

TEST_CASE("batcher: a request for a deployment that it does not have is answered with draining") {
  batcher_fixture f;
  auto r = make_request(deployment_of(plus_one_model(4), 99, {0}), 4, f.gate);
  r.value->plan(true, {});
  f.client.send(f.subject, enqueue{r.value});
  expect_failed(r, errc::draining);
}

TEST_CASE("batcher: num_workers is a cap that can be changed") {
  batcher_fixture f;
  f.client.send(f.subject, limit_workers{5, 1});
  f.up(0);
  f.up(1);
  auto r = f.enqueue_rows(8);
  auto work = f.core0.expect<start_execution>().work;
  f.core1.expect_none();
  f.client.send(f.subject, limit_workers{5, 2});
  f.finish(1);
  f.done(0, work);
  expect_ok(r);
}

TEST_CASE("batcher: a withdrawn request is answered and its place taken by the next") {
  batcher_fixture f;
  f.up(0);
  auto a = f.enqueue_rows(4), b = f.enqueue_rows(4), c = f.enqueue_rows(4);
  auto running = f.core0.expect<start_execution>().work;
  f.client.send(f.subject, withdraw{b.value->id(), {errc::deadline_exceeded, "late"}});
  expect_failed(b, errc::deadline_exceeded);
  f.client.send(f.subject, withdraw{a.value->id(), {errc::cancelled, "x"}});
  expect_failed(a, errc::cancelled);
  f.client.send(f.subject, withdraw{123'456'789, {errc::cancelled, "nobody"}});
  f.done(0, running);
  f.finish(0);
  expect_ok(c);
}

TEST_CASE("batcher: what a core held goes to another when it goes down, and its late report is ignored") {
  batcher_fixture f;
  f.up(0);
  auto r = f.enqueue_rows(4);
  auto zombie = f.core0.expect<start_execution>().work;
  f.up(1);
  f.client.send(f.subject, core_down{0, true});
  auto again = f.core1.expect<start_execution>().work;
  f.done(0, zombie);
  EXPECT(r.got->all.empty());
  f.done(1, again);
  expect_ok(r);
}

TEST_CASE("batcher: when all cores are given up what waits fails at once") {
  batcher_fixture f;
  auto r = f.enqueue_rows(4);
  f.client.send(f.subject, core_down{0, false});
  EXPECT(r.got->all.empty());
  f.client.send(f.subject, core_down{1, false});
  expect_failed(r, errc::core_lost);
}

TEST_CASE("batcher: a deployment without work is removed at once, one with work when it has run") {
  batcher_fixture f;
  f.up(0);
  auto other = deployment_of(plus_one_model(4), 6, {0});
  f.client.send(f.subject, add_deployment{other, {}, {{1e-3}, true}});
  auto r = f.enqueue_rows(8);
  auto work = f.core0.expect<start_execution>().work;
  f.client.send(f.subject, remove_deployment{5});
  f.client.expect_none();
  f.client.send(f.subject, remove_deployment{6});
  EXPECT(f.client.expect<deployment_removed>().id == 6);
  f.done(0, work);
  f.client.expect_none();
  f.finish(0);
  expect_ok(r);
  EXPECT(f.client.expect<deployment_removed>().id == 5);
  expect_failed(f.enqueue_rows(1), errc::draining);
}

TEST_CASE("batcher: the removal of a deployment that it does not have is answered too") {
  batcher_fixture f;
  f.client.send(f.subject, remove_deployment{77});
  EXPECT(f.client.expect<deployment_removed>().id == 77);
}

TEST_CASE("batcher: it is not spawned with a bad configuration") {
  batcher_fixture f;
  EXPECT_THROWS_AS(spawn_batcher(f.parent.parent(), {{0, 0, 1}, {}}), error);
  EXPECT_THROWS_AS(spawn_batcher(f.parent.parent(), {{2, -1, 4}, {}}), error);
  EXPECT_THROWS_AS(spawn_batcher(f.parent.parent(), {{}, 0ms}), error);
}

TEST_CASE("batcher: its status counts the executions in flight") {
  batcher_fixture f;
  f.up(0);
  f.up(1);
  auto r = f.enqueue_rows(12);
  f.client.send(f.subject, status_query{});
  EXPECT(f.client.expect<status>().executions_in_flight == 2);
  f.finish(0);
  f.finish(1);
  f.finish(0);
  expect_ok(r);
  f.client.send(f.subject, status_query{});
  EXPECT(f.client.expect<status>().executions_in_flight == 0);
}

TEST_CASE("batcher: told to quit, it answers what waits and what runs with draining") {
  batcher_fixture f;
  f.up(0);
  auto a = f.enqueue_rows(8), b = f.enqueue_rows(4);
  auto running = f.core0.expect<start_execution>().work;
  running->parts[0].where->start(0);
  f.system.end(f.subject);
  expect_failed(a, errc::draining);
  expect_failed(b, errc::draining);
  EXPECT_FALSE(f.lanes.complete(running, 0).ran);
  EXPECT(f.gate->unanswered() == 0);
}

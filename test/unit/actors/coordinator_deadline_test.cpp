#include "coordinator_fixture.hpp"

#include <limits>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;
using fixture = coordinator_fixture;

// -- cancel -----------------------------------------------------------------------------------------------------------

TEST_CASE("coordinator: a cancel of the sender withdraws the request, and the answer says so once") {
  fixture f;
  auto r = f.accepted(f.message(1));
  f.client.send(f.subject, cancel{1});
  auto w = f.batcher.expect<withdraw>();
  EXPECT(w.deployment_id == 5);
  EXPECT(w.request_id == r->id());
  EXPECT(w.reason.code == errc::cancelled);
  f.client.expect_none();
  r->refuse(w.reason);
  f.expect_failed(1, errc::cancelled);
  f.client.send(f.subject, cancel{1});
  f.batcher.expect_none();
  f.client.expect_none();
}

TEST_CASE("coordinator: nobody cancels another's request, nor one that is not there") {
  fixture f;
  auto r = f.accepted(f.message(1));
  probe other{f.system};
  other.send(f.subject, cancel{1});
  f.client.send(f.subject, cancel{2});
  caf::anon_send(f.subject, cancel{1});
  f.batcher.expect_none();
  run(r);
  f.expect_answered(1);
}

// -- deadlines --------------------------------------------------------------------------------------------------------

TEST_CASE("coordinator: a deadline withdraws its request when it has come, and not before") {
  fixture f;
  auto r = f.accepted(f.message(1, 4, 100));
  f.system.advance(99ms);
  f.batcher.expect_none();
  f.system.advance(1ms);
  auto w = f.batcher.expect<withdraw>();
  EXPECT(w.request_id == r->id());
  EXPECT(w.reason.code == errc::deadline_exceeded);
  f.client.expect_none();  // a lane may be committing: the batcher decides
  r->refuse(w.reason);
  f.expect_failed(1, errc::deadline_exceeded);
  f.system.advance(1s);
  f.batcher.expect_none();
}

TEST_CASE("coordinator: the deadline of an answered request does nothing") {
  fixture f;
  run(f.accepted(f.message(1, 4, 100)));
  f.expect_answered(1);
  f.system.advance(1s);
  f.batcher.expect_none();
}

TEST_CASE("coordinator: deadlines come in their own order, each once, also when an earlier one arrives later") {
  fixture f;
  auto late = f.accepted(f.message(1, 4, 100)), early = f.accepted(f.message(2, 4, 50));
  auto same = f.accepted(f.message(3, 4, 50)), none = f.accepted(f.message(4, 4, 0));
  f.system.advance(50ms);
  EXPECT(f.batcher.expect<withdraw>().request_id == early->id());
  EXPECT(f.batcher.expect<withdraw>().request_id == same->id());
  f.batcher.expect_none();
  f.system.advance(49ms);
  f.batcher.expect_none();
  f.system.advance(1ms);  // now the tick of the first generation comes too, and counts no more
  EXPECT(f.batcher.expect<withdraw>().request_id == late->id());
  f.batcher.expect_none();
  f.system.advance(1h);
  f.batcher.expect_none();
  std::uint64_t id = 1;
  for (auto* r : {&late, &early, &same, &none}) {
    run(*r);
    f.expect_answered(id++);
  }
}

TEST_CASE("coordinator: a tick of a stale generation does nothing") {
  fixture f;
  auto r = f.accepted(f.message(1, 4, 100));
  for (std::uint64_t generation : {0, 2, 1'000}) f.client.send(f.subject, deadline_tick{generation});
  f.client.send(f.subject, deadline_tick{1});  // the right one, too early
  f.batcher.expect_none();
  f.system.advance(100ms);
  EXPECT(f.batcher.expect<withdraw>().request_id == r->id());
  f.batcher.expect_none();
  run(r);
  f.expect_answered(1);
}

TEST_CASE("coordinator: the longest and the most negative time that a stranger can send are no deadline in the past") {
  fixture f;
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  auto a = f.accepted(f.message(1, 4, most)), b = f.accepted(f.message(2, 4, most / 1'000'000));
  auto c = f.accepted(f.message(3, 4, std::numeric_limits<std::int64_t>::min()));
  f.system.advance(24h);
  f.batcher.expect_none();
  std::uint64_t id = 1;
  for (auto* r : {&a, &b, &c}) {
    run(*r);
    f.expect_answered(id++);
  }
}

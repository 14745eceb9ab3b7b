#include "coordinator_fixture.hpp"

#include <limits>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

TEST_CASE("coordinator: options that cannot be used are refused with a sentence") {
  EXPECT(validate(configure{}).has_value());
  EXPECT(validate(configure{true, 1, 1}).has_value());
  EXPECT(contains(validate(configure{false, 0, {}}).error().text, "num_workers is 0"));
  EXPECT(contains(validate(configure{false, {}, 0}).error().text, "split_size is 0"));
  EXPECT(validate(configure{false, {}, -7}).error().code == errc::invalid_argument);
}

TEST_CASE("coordinator: it is not spawned with a bad configuration") {
  coordinator_fixture f;
  coordinator_config good{f.target, f.gate, f.warnings, f.batcher.as<batcher_actor>(),
                          f.supervisor.as<supervisor_actor>(), true, {}, {}};
  EXPECT(validate(good).has_value());
  auto refused = [&](const std::function<void(coordinator_config&)>& change) {
    auto bad = good;
    change(bad);
    EXPECT_THROWS_AS(spawn_coordinator(f.parent.parent(), bad), error);
    return validate(bad).error().text;
  };
  EXPECT(contains(refused([](auto& c) { c.target = nullptr; }), "target"));
  EXPECT(contains(refused([](auto& c) { c.gate = nullptr; }), "gate"));
  EXPECT(contains(refused([](auto& c) { c.batcher = nullptr; }), "batcher"));
  EXPECT(contains(refused([](auto& c) { c.supervisor = nullptr; }), "supervisor"));
  EXPECT(contains(refused([](auto& c) { c.num_workers = 0; }), "num_workers is 0"));
}

// -- the normal path --------------------------------------------------------------------------------------------------

TEST_CASE("coordinator: a message is planned, passed to the batcher and answered once with its outputs") {
  coordinator_fixture f;
  auto r = f.accepted(f.message(7, 10));
  EXPECT(r->chunks().size() == 3);
  EXPECT(r->dynamic_batching());
  EXPECT(f.gate->unanswered() == 1);
  f.client.expect_none();
  run(r);
  f.expect_answered(7, 10);
  f.client.expect_none();
  EXPECT(f.gate->unanswered() == 0);
}

TEST_CASE("coordinator: the answer to a message says where its time went and which cores ran it") {
  coordinator_fixture f;
  auto r = f.accepted(f.message(7, 10));
  run(r);
  auto m = f.client.expect<infer_response>();
  EXPECT(m.timing.executions == 3);
  EXPECT(m.timing.batched_rows == 10);
  EXPECT(m.timing.cores == std::vector<std::size_t>{1});
  EXPECT(m.timing.gather.count() > 0);
  EXPECT((m.timing.queued + m.timing.compute + m.timing.gather).count() <= m.total_ns);
}

TEST_CASE("coordinator: a CAF request is answered like a plain message") {
  coordinator_fixture f;
  f.client.ask<infer_response>(f.subject, f.message(7));
  run(f.batcher.expect<enqueue>().value);
  f.expect_answered(7);
}

TEST_CASE("coordinator: a submission is passed on and answered through its own sink") {
  coordinator_fixture f;
  auto r = make_request(f.target, 4, f.gate);
  f.client.send(f.subject, submission{r.value});
  run(f.batcher.expect<enqueue>().value);
  REQUIRE(r.got->once());
  EXPECT(r.got->only().ok());
}

TEST_CASE("coordinator: chunks that end in reverse order come back in the order of the input") {
  coordinator_fixture f;
  run(f.accepted(f.message(1, 11)), true);
  f.expect_answered(1, 11);
}

TEST_CASE("coordinator: overlapping requests are answered each with its own, in whatever order they end") {
  coordinator_fixture f;
  auto a = f.accepted(f.message(1, 3)), b = f.accepted(f.message(2, 9)), c = f.accepted(f.message(3, 1));
  run(c);
  f.expect_answered(3, 1);
  run(a);
  f.expect_answered(1, 3);
  run(b);
  f.expect_answered(2, 9);
}

TEST_CASE("coordinator: no rows are answered without the batcher") {
  coordinator_fixture f;
  f.client.send(f.subject, f.message(1, 0));
  f.batcher.expect_none();
  f.expect_answered(1, 0);
}

TEST_CASE("coordinator: a split_size holds until it is unset") {
  coordinator_fixture f;
  std::uint64_t id = 1;
  auto chunks = [&] {
    auto r = f.accepted(f.message(id, 12));
    auto count = r->chunks().size();
    run(r);
    f.expect_answered(id++, 12);
    return count;
  };
  const auto usual = chunks();
  f.client.send(f.subject, configure{false, {}, 1});
  EXPECT(chunks() == 12);
  f.client.send(f.subject, configure{});
  EXPECT(chunks() == 12);
  f.client.send(f.subject, configure{.unset_split_size = true});
  EXPECT(chunks() == usual);
}

TEST_CASE("coordinator: a request of no rows has a deadline as any other") {
  coordinator_fixture f;
  f.client.send(f.subject, f.message(1, 0, -1));
  EXPECT(f.client.expect<infer_response>().error.code == errc::deadline_exceeded);
  f.batcher.expect_none();
}

TEST_CASE("coordinator: without dynamic batching no rows go to the batcher, which refuses them") {
  coordinator_fixture f{false};
  auto r = f.accepted(f.message(1, 0));
  r->refuse({errc::batch_size_mismatch, "0 rows"});
  f.expect_failed(1, errc::batch_size_mismatch);
}

TEST_CASE("coordinator: status and drain are the supervisor's to answer") {
  coordinator_fixture f;
  f.client.send(f.subject, status_query{});
  f.supervisor.expect_and_answer<status_query>();
  status s;
  s.unanswered = 42;
  f.supervisor.reply(s);
  EXPECT(f.client.expect<status>().unanswered == 42);
  f.client.ask<drained>(f.subject, drain{123});
  EXPECT(f.supervisor.expect_and_answer<drain>().bound_ms == 123);
  f.supervisor.reply(drained{4});
  EXPECT(f.client.expect<drained>().unanswered == 4);
}

// -- what is refused --------------------------------------------------------------------------------------------------

TEST_CASE("coordinator: a request that came from nobody is not run") {
  coordinator_fixture f;
  caf::anon_send(f.subject, f.message(7));
  f.system.run();
  f.batcher.expect_none();
  EXPECT(f.gate->unanswered() == 0);
  f.parent.watch(f.subject.address());
  f.subject = nullptr;
  f.parent.expect<caf::down_msg>();
}

TEST_CASE("coordinator: a request for another model is refused, and an empty reference stands for any") {
  coordinator_fixture f;
  auto m = f.message(1);
  m.model.content_hash = "another";
  f.client.send(f.subject, m);
  f.expect_failed(1, errc::invalid_argument);
  m.model.content_hash = f.target->model.content_hash();
  run(f.accepted(m));
  f.expect_answered(1);
  EXPECT(f.gate->unanswered() == 0);
}

TEST_CASE("coordinator: inputs that do not fit are refused before they are counted") {
  coordinator_fixture f;
  auto m = f.message(1);
  m.inputs.value = numbered_rows(4);
  f.client.send(f.subject, m);
  f.expect_failed(1, errc::shape_mismatch);
  m.inputs.value = c10::ivalue::Tuple::create({c10::IValue{at::zeros({4, 3})}});
  f.client.send(f.subject, m);
  f.expect_failed(1, errc::shape_mismatch);
  m.inputs.value = {};
  f.client.send(f.subject, m);
  f.expect_failed(1, errc::shape_mismatch);
  f.batcher.expect_none();
  EXPECT(f.gate->unanswered() == 0);
}

TEST_CASE("coordinator: what the gate refuses is answered with the gate's reason") {
  coordinator_fixture f;
  SUBCASE("closed") {
    f.gate->close();
    f.client.send(f.subject, f.message(1));
    f.expect_failed(1, errc::draining);
  }
  SUBCASE("full") {
    auto r = f.accepted(f.message(1, 65'536));
    f.client.send(f.subject, f.message(2));
    f.expect_failed(2, errc::queue_full);
    r->refuse({errc::cancelled, "x"});
    f.expect_failed(1, errc::cancelled);
  }
}

TEST_CASE("coordinator: a sender's id is taken until it is answered, and only for that sender") {
  coordinator_fixture f;
  auto first = f.accepted(f.message(1));
  f.client.send(f.subject, f.message(1));
  f.expect_failed(1, errc::invalid_argument);
  probe other{f.system};
  other.send(f.subject, f.message(1));
  auto others = f.batcher.expect<enqueue>().value;
  others->refuse({errc::cancelled, "x"});
  f.expect_failed(other, 1, errc::cancelled);
  run(first);
  f.expect_answered(1);
  run(f.accepted(f.message(1)));
  f.expect_answered(1);
}

TEST_CASE("coordinator: a second word about an answered request changes nothing") {
  coordinator_fixture f;
  auto r = f.accepted(f.message(1));
  auto id = r->id();
  run(r);
  f.client.send(f.subject, answered{id, std::make_shared<response>(), {}});
  f.client.send(f.subject, answered{id + 1'000, std::make_shared<response>(), {}});
  f.expect_answered(1);
  f.client.expect_none();
}

// -- rules ------------------------------------------------------------------------------------------------------------

TEST_CASE("coordinator: disabling dynamic batching is for the requests that come after it (S14)") {
  coordinator_fixture f;
  auto before = f.accepted(f.message(1, 6));
  f.client.send(f.subject, configure{true, {}, {}});
  auto after = f.accepted(f.message(2, 8));
  EXPECT(before->dynamic_batching());
  EXPECT_FALSE(after->dynamic_batching());
  run(before);
  f.expect_answered(1, 6);
  run(after);
  f.expect_answered(2, 8);
  f.client.send(f.subject, configure{false, {}, 2});  // one way: nothing turns it on again
  auto still = f.accepted(f.message(3, 8));
  EXPECT_FALSE(still->dynamic_batching());
  EXPECT(still->chunks().chunk_rows() == 4);
  run(still);
  f.expect_answered(3, 8);
}

TEST_CASE("coordinator: options are set one by one and keep their values") {
  coordinator_fixture f;
  f.client.send(f.subject, configure{false, 3, {}});
  auto limit = f.batcher.expect<limit_workers>();
  EXPECT(limit.deployment_id == 5);
  EXPECT(limit.num_workers == 3u);
  f.client.send(f.subject, configure{false, {}, 7});
  f.batcher.expect_none();
  auto r = f.accepted(f.message(1, 20));
  EXPECT(r->chunks().chunk_rows() == 7);
  run(r);
  f.expect_answered(1, 20);
}

TEST_CASE("coordinator: what comes after it was told to serve another deployment is for that one, with its settings") {
  coordinator_fixture f;
  f.client.send(f.subject, configure{false, 3, 2});
  f.batcher.expect<limit_workers>();
  auto before = f.accepted(f.message(1));
  auto late = make_request(f.target, 4, f.gate);  // checked by the signature of the one before
  const auto next = deployment_of(plus_one_model(4), 6, {0, 1});
  f.supervisor.send(f.subject, serve{9, next});
  EXPECT(f.supervisor.expect<served>().operation == 9);
  auto limit = f.batcher.expect<limit_workers>();
  EXPECT(limit.deployment_id == 6);
  EXPECT(limit.num_workers == 3);
  auto after = f.accepted(f.message(2));
  f.client.send(f.subject, submission{std::exchange(late.value, nullptr)});
  auto retargeted = f.batcher.expect<enqueue>().value;
  EXPECT(before->target().id == 5);
  EXPECT(after->target().id == 6);
  EXPECT(after->chunks().chunk_rows() == 2);
  EXPECT(retargeted->target().id == 6);
  for (const auto& r : {before, after, retargeted}) run(r);
  f.expect_answered(1);
  f.expect_answered(2);
  EXPECT(late.got->only().ok());
}

TEST_CASE("coordinator: the replacement of its model is the supervisor's to do, and to answer") {
  coordinator_fixture f;
  f.client.ask<deployed>(f.subject, replace_model{plus_one_model(4)});
  auto m = f.supervisor.expect_and_answer<replace_model>();
  EXPECT(m.coordinator == f.subject.address());
  EXPECT(m.model.id() == plus_one_model(4).id());
  f.supervisor.reply(deployed{f.subject, f.target, {}});
  EXPECT(f.client.expect<deployed>().ok());
}

TEST_CASE("coordinator: a split size without meaning and cores without work are warned of once") {
  coordinator_fixture f;
  run(f.accepted(f.message(1, 9)));
  f.expect_answered(1, 9);
  EXPECT(f.warnings->sentences().empty());
  for (std::uint64_t id : {2, 3}) {
    run(f.accepted(f.message(id, 3)));
    f.expect_answered(id, 3);
  }
  REQUIRE(f.warnings->sentences().size() == 1);
  EXPECT(contains(f.warnings->sentences()[0], "a request of 3 rows needs 1 execution of up to 4 rows: of 2 cores"));
  f.client.send(f.subject, configure{true, {}, 7});
  for (std::uint64_t id : {4, 5}) {
    run(f.accepted(f.message(id, 8)));
    f.expect_answered(id, 8);
  }
  REQUIRE(f.warnings->sentences().size() == 2);
  EXPECT(contains(f.warnings->sentences()[1], "split_size = 7 has no meaning"));
}

// -- cancel -----------------------------------------------------------------------------------------------------------

TEST_CASE("coordinator: a cancel of the sender withdraws the request, and the answer says so once") {
  coordinator_fixture f;
  auto r = f.accepted(f.message(1));
  f.client.send(f.subject, cancel{1});
  auto w = f.batcher.expect<withdraw>();
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
  coordinator_fixture f;
  auto r = f.accepted(f.message(1));
  probe other{f.system};
  other.send(f.subject, cancel{1});
  f.client.send(f.subject, cancel{2});
  caf::anon_send(f.subject, cancel{1});
  f.batcher.expect_none();
  run(r);
  f.expect_answered(1);
}

TEST_CASE("coordinator: what a client sent that goes away is taken back, and nobody else's") {
  coordinator_fixture f;
  auto staying = f.accepted(f.message(1));
  std::vector<request_ptr> left;
  {
    probe leaving{f.system};
    for (std::uint64_t id : {1, 2, 3}) {
      leaving.send(f.subject, f.message(id));
      left.push_back(f.batcher.expect<enqueue>().value);
    }
    run(std::exchange(left.back(), nullptr));
    EXPECT(leaving.expect<infer_response>().ok());
    left.pop_back();
    f.batcher.expect_none();
  }
  for (const auto& r : left) {
    auto w = f.batcher.expect<withdraw>();
    EXPECT(w.request_id == r->id());
    EXPECT(w.reason.code == errc::cancelled);
    r->refuse(w.reason);  // an answer to nobody
  }
  f.batcher.expect_none();
  run(staying);
  f.expect_answered(1);
}

TEST_CASE("coordinator: a client that goes away with nothing open takes nothing back") {
  coordinator_fixture f;
  {
    probe leaving{f.system};
    leaving.send(f.subject, f.message(1));
    run(f.batcher.expect<enqueue>().value);
    EXPECT(leaving.expect<infer_response>().ok());
  }
  f.batcher.expect_none();
}

// -- what a message carries -------------------------------------------------------------------------------------------

TEST_CASE("coordinator: class, tenant and remaining time of a message are the request's, counted from its receipt") {
  coordinator_fixture f;
  auto m = f.message(1, 4, 100);
  m.priority = 2;
  m.tenant = "weather";
  f.system.advance(5s);
  auto r = f.accepted(m);
  EXPECT(r->options().priority == priority::low);
  EXPECT(r->options().tenant == "weather");
  REQUIRE(r->options().deadline);
  EXPECT(*r->options().deadline == f.system.now() + 100ms);
  run(r);
  f.expect_answered(1);
  auto plain = f.accepted(f.message(2));
  EXPECT(plain->options().priority == priority::normal);
  EXPECT_FALSE(plain->options().deadline);
  run(plain);
  f.expect_answered(2);
}

TEST_CASE("coordinator: a priority that there is not is refused") {
  coordinator_fixture f;
  auto m = f.message(1);
  m.priority = 3;
  f.client.send(f.subject, m);
  auto answer = f.client.expect<infer_response>();
  EXPECT(answer.error.code == errc::invalid_argument);
  EXPECT(contains(answer.error.text, "the priority is 3"));
}

TEST_CASE("coordinator: the longest time that a stranger can send is no deadline in the past, the most negative one is") {
  coordinator_fixture f;
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  std::uint64_t id = 1;
  for (auto remaining : {most, most / 1'000'000, std::numeric_limits<std::int64_t>::min()}) {
    auto r = f.accepted(f.message(id, 4, remaining));
    REQUIRE(r->options().deadline);
    EXPECT((remaining > 0 ? *r->options().deadline > f.system.now() + 24h : *r->options().deadline < f.system.now()));
    run(r);
    f.expect_answered(id++);
  }
}

// -- the end ----------------------------------------------------------------------------------------------------------

TEST_CASE("coordinator: told to quit, it answers what is open with draining") {
  coordinator_fixture f;
  auto a = f.accepted(f.message(1)), b = f.accepted(f.message(2));
  f.parent.watch(f.subject.address());
  f.system.end(f.subject);
  for (int i = 0; i < 2; ++i) {
    auto m = f.client.expect<infer_response>();
    EXPECT(m.error.code == errc::draining);
    EXPECT(m.trace_id == "trace-" + std::to_string(m.id));
  }
  EXPECT(f.parent.expect<caf::down_msg>().source == f.subject.address());
  run(a);  // what was under way ends without it
  run(b);
  f.client.expect_none();
}

TEST_CASE("coordinator: dropped by its last holder, it goes when what came by message is answered") {
  coordinator_fixture f;
  auto a = f.accepted(f.message(1)), b = f.accepted(f.message(2));
  f.parent.watch(f.subject.address());
  f.subject = nullptr;
  run(a);
  f.expect_answered(1);
  f.parent.expect_none();
  run(b);
  f.expect_answered(2);
  f.parent.expect<caf::down_msg>();
}

TEST_CASE("coordinator: dropped by its last holder with nothing open, it goes at once") {
  coordinator_fixture f;
  f.parent.watch(f.subject.address());
  f.subject = nullptr;
  f.parent.expect<caf::down_msg>();
}

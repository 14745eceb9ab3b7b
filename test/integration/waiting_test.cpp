// How long rows wait, behind whom, and what is not run of those that nobody waits for, on the real scheduler.
#include "gated_engine.hpp"

#include <support/modules.hpp>

#include <atomic>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

TEST_CASE("a batch that is not full goes when its delay has passed, with all that came meanwhile") {
  gated_engine e{{.max_queue_delay = 1s}};
  auto a = e.parallel.submit({counted({1, 3})}, {}), b = e.parallel.submit({counted({2, 3})}, {});
  REQUIRE(ready(a));
  REQUIRE(ready(b));
  const auto first = a.get(), second = b.get();
  EXPECT(first.timing.queued >= 1s);
  EXPECT(first.timing.queued < 30s);  // a busy machine may be late, but nothing else was waited for
  EXPECT(first.timing.batched_rows == 3);
  EXPECT(same(first.outputs.toTensor(), counted({1, 3}) + 1));
  EXPECT(same(second.outputs.toTensor(), counted({2, 3}) + 1));
  EXPECT((e.rows(1) == std::vector<std::int64_t>{3}));
}

TEST_CASE("a batch that waits for its delay leaves in time for a deadline in it") {
  gated_engine e{{.max_queue_delay = 1h}};
  // On a busy machine an execution may take longer than any that was measured, and be late; not again and again.
  EXPECT(soon([&] {
    auto without = e.parallel.submit({counted({1, 3})}, {});
    request_options options;
    options.deadline = std::chrono::steady_clock::now() + 2s;
    auto with = e.parallel.submit({counted({2, 3})}, options);
    REQUIRE(ready(with));
    try {
      const auto answer = with.get();
      EXPECT(same(answer.outputs.toTensor(), counted({2, 3}) + 1));
      EXPECT(answer.timing.batched_rows >= 3);
      EXPECT(ready(without));
      return answer.timing.queued > 1s;  // it waited for others as long as it could
    } catch (const error& late) {
      EXPECT(late.code() == errc::deadline_exceeded);
      return false;
    }
  }));
}

TEST_CASE("neither drain nor the end of an engine waits for a delay: no row comes any more that would fill the batch") {
  for (const bool drained : {true, false}) {
    std::future<c10::IValue> answer;
    {
      gated_engine e{{.max_queue_delay = 1h}};
      answer = e.parallel.submit({counted({1, 3})});
      if (drained) EXPECT(e.host.drain(1min));
    }
    REQUIRE(ready(answer));
    EXPECT(failure_of_future(std::move(answer)).code == errc::ok);
  }
}

TEST_CASE("a deadline that the measured executions cannot meet is refused at once, not when it has passed") {
  engine_ears ears;
  engine host{ears.options(1)};
  const auto slow = test_modules::scripted(
      "def forward(self, x):\n  for _ in range(4000):\n    x = torch.tanh(x)\n  return x\n");
  data_parallel parallel{host, compiled(slow, {at::rand({8, 256})})};
  // A machine that stops for a moment may get there too late, or when what is before it has run.
  EXPECT(soon([&] {
    std::vector<std::future<c10::IValue>> before;
    for (int i = 0; i < 60; ++i) before.push_back(parallel.submit({at::rand({8, 256})}));
    host.status();  // what was sent before is in the queue
    request_options options;
    options.deadline = std::chrono::steady_clock::now() + 150ms;
    const auto refused = failure_of_future(parallel.submit({at::rand({1, 256})}, options));
    options.deadline = std::chrono::steady_clock::now() + 1h;
    EXPECT(failure_of_future(parallel.submit({at::rand({1, 256})}, options)).code == errc::ok);
    for (auto& f : before) EXPECT(ready(f));
    return refused.code == errc::deadline_exceeded && contains(refused.text, "of waiting and execution are expected");
  }));
}

TEST_CASE("less urgent rows fill the padding of a more urgent batch, and those that do not fit wait") {
  gated_engine e;
  std::future<response> low, high;
  {
    forward_gate gate;
    auto running = e.parallel.submit({counted({8, 3})});
    REQUIRE(gate.wait_for(1));
    low = e.parallel.submit({counted({7, 3})}, of(priority::low));
    high = e.parallel.submit({counted({3, 3})}, of(priority::high));
  }
  REQUIRE(ready(low));
  REQUIRE(ready(high));
  const auto r = high.get();
  EXPECT(r.timing.batched_rows == 8);
  EXPECT(same(r.outputs.toTensor(), counted({3, 3}) + 1));
  EXPECT(same(low.get().outputs.toTensor(), counted({7, 3}) + 1));
  EXPECT((e.rows(3) == std::vector<std::int64_t>{8, 8, 2}));
}

TEST_CASE("a tenant that floods a model leaves another its share, in rows") {
  constexpr int flood = 1'000, quiet = 10;
  gated_engine e;
  std::atomic<int> flood_answered{0}, quiet_answered{0};
  std::promise<int> flood_before;
  {
    forward_gate gate;
    auto running = e.parallel.submit({counted({8, 3})});
    REQUIRE(gate.wait_for(1));
    for (int i = 0; i < flood; ++i)
      e.parallel.start({counted({8, 3})}, of(priority::normal, "flood"), [&](response&&) { ++flood_answered; });
    for (int i = 0; i < quiet; ++i)
      e.parallel.start({counted({8, 3})}, of(priority::normal, "quiet"), [&](response&& r) {
        EXPECT(r.ok());
        if (++quiet_answered == quiet) flood_before.set_value(flood_answered);
      });
  }
  auto before = flood_before.get_future();
  REQUIRE(ready(before));
  // What a core takes ahead, at most 128 executions, was bound before the other tenant came.
  EXPECT(before.get() <= 128 + 2 * quiet);
  EXPECT(at_rest(e.host));
  EXPECT(flood_answered == flood);
}

TEST_CASE("what waits for long is answered although more urgent requests never end") {
  gated_engine e{{.ageing = 20ms}};
  std::atomic<bool> stop{false};
  std::atomic<int> urgent{0};
  std::function<void(response&&)> again = [&](response&& r) {
    EXPECT(r.ok());
    ++urgent;
    if (!stop) e.parallel.start({counted({8, 3})}, of(priority::high), again);
  };
  // More than a core takes ahead: there are always some that wait.
  for (int i = 0; i < 400; ++i) e.parallel.start({counted({8, 3})}, of(priority::high), again);
  auto patient = e.parallel.submit({counted({8, 3})}, of(priority::low));
  EXPECT(ready(patient));
  stop = true;
  EXPECT(same(patient.get().outputs.toTensor(), counted({8, 3}) + 1));
  EXPECT(at_rest(e.host));
  EXPECT(urgent > 400);
}

TEST_CASE("of a request that is taken back no chunk is begun any more, whichever way it was cut") {
  for (const auto split : {std::optional<std::int64_t>{}, std::optional<std::int64_t>{4},
                           std::optional<std::int64_t>{200}}) {
    gated_engine e{{.split_size = split}};
    std::stop_source source;
    forward_gate gate;
    auto r = e.parallel.submit({counted({800, 3})}, with(source));
    REQUIRE(gate.wait_for(1));
    source.request_stop();
    EXPECT(failure_of_future(std::move(r)).code == errc::cancelled);
    gate.open();
    EXPECT(at_rest(e.host));
    EXPECT(same(answer(e.parallel, {counted({1, 3})}), counted({1, 3}) + 1));
    EXPECT((e.rows(2) == std::vector<std::int64_t>{split == 4 ? 4 : 8, 1}));
  }
}

TEST_CASE("a request that is taken back while it runs leaves those alone that share its execution") {
  gated_engine e{{.max_queue_delay = 1h}};
  std::stop_source source;
  forward_gate gate;
  auto taken_back = e.parallel.submit({counted({3, 3})}, with(source));
  auto neighbour = e.parallel.submit({counted({5, 3})}, {});
  REQUIRE(gate.wait_for(1));
  source.request_stop();
  EXPECT(failure_of_future(std::move(taken_back)).code == errc::cancelled);
  EXPECT(neighbour.wait_for(0s) == std::future_status::timeout);
  gate.open();
  REQUIRE(ready(neighbour));
  const auto r = neighbour.get();
  EXPECT(same(r.outputs.toTensor(), counted({5, 3}) + 1));
  EXPECT(r.timing.batched_rows == 8);
  EXPECT(at_rest(e.host));
}

// What requests can carry, and how those of many callers share executions, on the real scheduler.
#include "gated_engine.hpp"

#include <support/modules.hpp>

#include <atomic>
#include <random>
#include <thread>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;
namespace modules = test_modules;

TEST_CASE("requests that wait while a core is busy go together, and each gets its own rows") {
  gated_engine e;
  forward_gate gate;
  auto first = e.parallel.submit({counted({8, 3})});
  REQUIRE(gate.wait_for(1));
  std::vector<std::future<response>> futures;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 12; ++i) futures.push_back(e.parallel.submit({counted({1, 3}) + i}, {}));
  gate.open();
  for (int i = 0; i < 12; ++i) {
    REQUIRE(ready(futures[static_cast<std::size_t>(i)]));
    auto r = futures[static_cast<std::size_t>(i)].get();
    EXPECT(same(r.outputs.toTensor(), counted({1, 3}) + i + 1));
    EXPECT(r.timing.executions == 1);
    EXPECT(r.timing.batched_rows + r.timing.padded_rows == 8);
    EXPECT(r.timing.cores == std::vector<std::size_t>{0});
    EXPECT(r.timing.queued.count() > 0);
    EXPECT(r.timing.compute.count() > 0);
    EXPECT(r.timing.gather.count() > 0);
    EXPECT(r.timing.queued + r.timing.compute + r.timing.gather < std::chrono::steady_clock::now() - begin);
  }
  EXPECT((e.rows(3) == std::vector<std::int64_t>{8, 8, 4}));
  EXPECT(same(first.get().toTensor(), counted({8, 3}) + 1));
}

TEST_CASE("many threads send requests of any size to one model, and everybody gets the answer to what it asked") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::plus_one(), {at::ones({16, 3})}), {.max_queue_delay = 200us}};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random{t};
      for (int round = 0; round < 30; ++round) {
        std::vector<std::pair<at::Tensor, std::future<response>>> calls;
        for (int i = 0; i < 10; ++i) {
          auto x = at::rand({static_cast<std::int64_t>(1 + random() % 40), 3});
          auto options = of(static_cast<priority>(random() % 3));
          options.tenant = std::string(random() % 3, 't');
          calls.emplace_back(x, parallel.submit({x}, options));
        }
        for (auto& [x, future] : calls)
          if (!ready(future) || !same(future.get().outputs.toTensor(), x + 1)) ++wrong;
      }
    });
  for (auto& t : threads) t.join();
  EXPECT(wrong == 0);
  EXPECT(at_rest(host));
}

TEST_CASE("a row that makes the model fail fails its own request, not those that share the execution") {
  const auto model = compiled(modules::scripted(R"(
def forward(self, x):
  assert not bool(torch.any(x > 100)), "too large"
  return x + 1
)"),
                              {at::ones({16, 3})});
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, model};
  std::vector<std::future<c10::IValue>> futures;
  for (int i = 0; i < 400; ++i)
    futures.push_back(parallel.submit({i % 10 == 7 ? at::full({2, 3}, 1000.f) : counted({1, 3})}));
  for (int i = 0; i < 400; ++i) {
    auto& future = futures[static_cast<std::size_t>(i)];
    if (i % 10 == 7) {
      auto f = failure_of_future(std::move(future));
      EXPECT(f.code == errc::forward_failed);
      EXPECT(contains(f.text, "too large"));
      EXPECT(f.first_row >= 0);  // its two rows may be in two executions
      EXPECT(f.last_row <= 2);
    } else {
      REQUIRE(ready(future));
      EXPECT(same(future.get().toTensor(), counted({1, 3}) + 1));
    }
  }
  EXPECT(at_rest(host));
}

TEST_CASE("a model whose rows are not independent is never run on rows of several requests") {
  engine_ears ears;
  engine host{ears.options(1)};
  trace_options options;
  options.tune = false;
  options.more_examples = {{at::rand({4, 3})}};  // into which two requests of 2 rows would fit
  const auto centred = modules::scripted("def forward(self, x):\n  return x - x.mean(0, keepdim=True)\n");
  data_parallel parallel{host, trace(centred, {at::rand({2, 3})}, options)};
  EXPECT_FALSE(parallel.dynamic_batching());
  data_parallel other{host, compiled(gated_plus_one(), {at::ones({8, 3})})};
  std::vector<std::pair<at::Tensor, std::future<c10::IValue>>> calls;
  {
    forward_gate gate;
    auto running = other.submit({counted({8, 3})});
    REQUIRE(gate.wait_for(1));
    for (int i = 0; i < 50; ++i) {
      auto x = at::rand({2, 3});
      calls.emplace_back(x, parallel.submit({x}));
    }
  }
  for (auto& [x, future] : calls) EXPECT(same(future.get().toTensor(), x - x.mean(0, true)));
  for (const auto& r : ears.wait_for_executions(51))
    if (r.data_parallel_id == parallel.id()) EXPECT(r.parts.size() == 1);
}

TEST_CASE("a more urgent request overtakes those that wait") {
  gated_engine e;
  std::promise<void> answered[2];
  std::atomic<int> place{0};
  int low_place = 0, high_place = 0;
  {
    forward_gate gate;
    auto running = e.parallel.submit({counted({8, 3})});
    REQUIRE(gate.wait_for(1));
    // More than a core takes ahead.
    auto x = counted({8'000, 3});
    e.parallel.start({x}, of(priority::low), [&](response&& r) {
      low_place = same(r.outputs.toTensor(), x + 1) ? ++place : -1;
      answered[0].set_value();
    });
    e.parallel.start({counted({8, 3})}, of(priority::high), [&](response&& r) {
      high_place = same(r.outputs.toTensor(), counted({8, 3}) + 1) ? ++place : -1;
      answered[1].set_value();
    });
  }
  for (auto& a : answered) REQUIRE(ready(a.get_future()));
  EXPECT(high_place == 1);
  EXPECT(low_place == 2);
}

TEST_CASE("a deadline that has passed, or passes in the queue or in a forward, is answered with deadline_exceeded") {
  gated_engine e;
  request_options past;
  past.deadline = std::chrono::steady_clock::now() - 1s;
  EXPECT(failure_of_future(e.parallel.submit({counted({1, 3})}, past)).code == errc::deadline_exceeded);
  forward_gate gate;
  auto in = [](std::chrono::milliseconds time) {
    request_options options;
    options.deadline = std::chrono::steady_clock::now() + time;
    return options;
  };
  auto running = e.parallel.submit({counted({8, 3})}, in(2s));
  REQUIRE(gate.wait_for(1));
  auto waiting = e.parallel.submit({counted({1, 3})}, in(1s));
  auto neighbour = e.parallel.submit({counted({1, 3})});
  EXPECT(failure_of_future(std::move(waiting)).code == errc::deadline_exceeded);
  EXPECT(failure_of_future(std::move(running)).code == errc::deadline_exceeded);
  gate.open();
  REQUIRE(ready(neighbour));
  EXPECT(same(neighbour.get().toTensor(), counted({1, 3}) + 1));
  EXPECT((e.rows(2) == std::vector<std::int64_t>{8, 1}));  // nobody waited for the other row any more
  EXPECT(at_rest(e.host));
}

TEST_CASE("a stop token takes a request back: before it is sent, in the queue, and in a forward") {
  gated_engine e;
  std::stop_source before, queued, running;
  before.request_stop();
  EXPECT(failure_of_future(e.parallel.submit({counted({1, 3})}, with(before))).code == errc::cancelled);
  forward_gate gate;
  auto a = e.parallel.submit({counted({8, 3})}, with(running));
  REQUIRE(gate.wait_for(1));
  auto b = e.parallel.submit({counted({1, 3})}, with(queued));
  auto neighbour = e.parallel.submit({counted({2, 3})}, {});
  queued.request_stop();
  EXPECT(failure_of_future(std::move(b)).code == errc::cancelled);
  running.request_stop();
  EXPECT(failure_of_future(std::move(a)).code == errc::cancelled);
  gate.open();
  REQUIRE(ready(neighbour));
  EXPECT(same(neighbour.get().outputs.toTensor(), counted({2, 3}) + 1));
  EXPECT((e.rows(2) == std::vector<std::int64_t>{8, 2}));
  EXPECT(at_rest(e.host));
}

TEST_CASE("thousands of requests that are cancelled from other threads are answered once each") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(gated_plus_one(), {at::ones({16, 3})})};
  // Sends 200 requests, of which another thread takes back all while the second half is sent. Returns how many were
  // answered with `cancelled`; all others must be with what was asked for.
  auto cancelled_of_200 = [&] {
    std::vector<std::stop_source> sources(200);
    std::vector<std::future<response>> futures;
    std::thread other;
    for (auto& source : sources) {
      request_options options;
      options.stop = source.get_token();
      futures.push_back(parallel.submit({counted({2, 3})}, options));
      if (futures.size() == 100) other = std::thread([&sources] { for (auto& s : sources) s.request_stop(); });
    }
    other.join();
    std::size_t cancelled = 0;
    for (auto& future : futures) {
      REQUIRE(ready(future));
      at::Tensor y;
      auto f = failure_of([&] { y = future.get().outputs.toTensor(); });
      if (f.code == errc::ok)
        EXPECT(same(y, counted({2, 3}) + 1));
      else
        EXPECT(f.code == errc::cancelled);
      if (f.code == errc::cancelled) ++cancelled;
    }
    return cancelled;
  };
  {
    forward_gate gate;  // no forward returns, so nothing can be answered before it is taken back
    EXPECT(cancelled_of_200() == 200);
  }
  for (int round = 0; round < 19; ++round) cancelled_of_200();  // the race of answers and cancellations
  EXPECT(at_rest(host));
}

TEST_CASE("the answer is written into the caller's tensor, where there is one that can take it") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::plus_one(), {at::ones({4, 3})})};
  auto into = [](at::Tensor t) {
    request_options options;
    options.outputs = {std::move(t)};
    return options;
  };
  auto mine = at::zeros({9, 3});
  auto r = parallel.submit({counted({9, 3})}, into(mine)).get();
  EXPECT(r.outputs.toTensor().data_ptr() == mine.data_ptr());
  EXPECT(same(mine, counted({9, 3}) + 1));
  auto refused = [&](at::Tensor t) {
    return failure_of_future(parallel.submit({counted({9, 3})}, into(std::move(t))));
  };
  auto wrong = refused(at::zeros({8, 3}));
  EXPECT(wrong.code == errc::shape_mismatch);
  EXPECT(contains(wrong.text, "is f32[8,3], but the answer will be f32[9,3]"));
  EXPECT(refused(at::zeros({9, 3}, at::kDouble)).code == errc::shape_mismatch);
  EXPECT(refused(at::zeros({3, 9}).t()).code == errc::invalid_argument);
  EXPECT(refused(at::Tensor{}).code == errc::invalid_argument);
  request_options two;
  two.outputs = {at::zeros({9, 3}), at::zeros({9, 3})};
  EXPECT(failure_of_future(parallel.submit({counted({9, 3})}, two)).code == errc::shape_mismatch);

  data_parallel columns{host, compiled(modules::plus_one(), {at::ones({4, 3})}), {.dim = 1}};
  auto wide = at::zeros({4, 6});
  EXPECT(columns.submit({counted({4, 6})}, into(wide)).get().outputs.toTensor().data_ptr() == wide.data_ptr());
  EXPECT(same(wide, counted({4, 6}) + 1));
  EXPECT(failure_of_future(columns.submit({counted({4, 6})}, into(at::zeros({4, 7})))).code == errc::gather_mismatch);
}

TEST_CASE("beyond max_queue_time requests are refused at once, and later there is room again") {
  gated_engine e{{}, {.max_queue_time = 1ms}};
  for (int i = 0; i < 3; ++i) answer(e.parallel, {counted({8, 3})});
  forward_gate gate;
  std::vector<std::future<response>> futures;
  for (int i = 0; i < 2'000; ++i) futures.push_back(e.parallel.submit({counted({8, 3})}, {}));
  EXPECT(failure_of_future(std::move(futures.back())).code == errc::queue_full);
  futures.pop_back();
  gate.open();
  for (auto& f : futures) EXPECT(ready(f));
  EXPECT(at_rest(e.host));
  answer(e.parallel, {counted({8, 3})});
}

TEST_CASE("options that cannot be used are refused with a sentence") {
  engine host{{.host_cores = 1, .pin = false, .log = [](auto, auto) {}}};
  const auto model = compiled(modules::plus_one(), {at::ones({1, 3})});
  EXPECT(contains(failure_of([&] {
                    data_parallel{host, model, {.max_queue_delay = -1ns}};
                  }).text,
                  "max_queue_delay is -1 ns"));
  EXPECT(contains(failure_of([&] { data_parallel{host, model, {.ageing = -1ns}}; }).text, "ageing is -1 ns"));
  EXPECT(
      contains(failure_of([&] { engine{{.host_cores = 1, .max_queue_time = 0ns}}; }).text, "max_queue_time is 0 ns"));
  data_parallel parallel{host, model};
  auto f = failure_of_future(parallel.submit({counted({1, 3})}, of(static_cast<priority>(7))));
  EXPECT(f.code == errc::invalid_argument);
  EXPECT(contains(f.text, "the priority is 7"));
}

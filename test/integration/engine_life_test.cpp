// The life of engines and data_parallels: many at once, ends with work under way, limits.
#include "gated_engine.hpp"

#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/faulty_lane.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <fmt/format.h>

#include <atomic>
#include <thread>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

namespace {

compiled_model gated() { return compiled(gated_plus_one(), {at::ones({1, 3})}); }

/// Counts how futures ended: with the right answer, with the failure, or otherwise.
struct ends {
  std::size_t answered = 0, draining = 0, other = 0;
  std::string note;
};

ends ends_of(std::vector<std::pair<at::Tensor, std::future<c10::IValue>>>& calls) {
  ends result;
  for (auto& [x, future] : calls) {
    if (!ready(future)) {
      ++result.other;
      result.note = "a future is not ready";
      continue;
    }
    try {
      if (same(future.get().toTensor(), x + 1))
        ++result.answered;
      else
        ++result.other;
    } catch (const error& e) {
      if (e.failure().code == errc::draining) {
        ++result.draining;
      } else {
        ++result.other;
        result.note = e.what();
      }
    }
  }
  return result;
}

}  // namespace

TEST_CASE("many threads call one data_parallel, and everybody gets the answer to what it asked") {
  engine_ears ears;
  engine host{ears.options(4)};
  data_parallel parallel{host, compiled(modules::linear(), {at::rand({3, 4})})};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 12; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const auto x = at::full({1 + (t + i) % 11, 4}, t + 0.01 * i);
        if (!same(parallel({x}), source_answer(parallel.model(), {x}))) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT(wrong == 0);
  EXPECT(at_rest(host));
}

TEST_CASE("settings may change while other threads call") {
  engine_ears ears;
  engine host{ears.options(3)};
  data_parallel parallel{host, plus_one(4)};
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; !stop; ++i) {
        const auto x = counted({(t + i) % 20, 3});
        if (!same(answer(parallel, {x}), x + 1)) ++wrong;
      }
    });
  for (int i = 1; i <= 300; ++i) {
    parallel.split_size(i % 9 + 1);
    parallel.num_workers(static_cast<std::size_t>(i % 7 + 1));
    EXPECT(parallel.warnings().size() <= 1);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT(wrong == 0);
}

TEST_CASE("several engines live in one process, each with its own cores and models") {
  engine_ears ears_a, ears_b;
  engine a{ears_a.options(2)};
  auto b = std::make_unique<engine>(ears_b.options(5));
  EXPECT(a.core_count() == 2);
  EXPECT(b->core_count() == 5);
  const auto model = plus_one(2);
  data_parallel on_a{a, model}, on_b{*b, model};
  std::vector<std::future<c10::IValue>> futures;
  for (int i = 0; i < 50; ++i) {  // of whole batches, so that none is shared
    futures.push_back(on_a.submit({counted({6, 3})}));
    futures.push_back(on_b.submit({counted({6, 3})}));
  }
  for (auto& f : futures) EXPECT(same(f.get().toTensor(), counted({6, 3}) + 1));
  EXPECT(ears_a.wait_for_executions(150).size() == 150);
  EXPECT(ears_b.wait_for_executions(150).size() == 150);
  // The end of one is nothing to the other.
  b.reset();
  EXPECT(failure_of([&] { on_b({counted({5, 3})}); }).code == errc::draining);
  EXPECT(same(answer(on_a, {counted({5, 3})}), counted({5, 3}) + 1));
}

TEST_CASE("an engine is made and ended 200 times, idle and under load") {
  const auto model = plus_one(2);
  for (int i = 0; i < 100; ++i) {
    engine_ears ears;
    engine idle{ears.options(1 + static_cast<std::size_t>(i) % 4)};
    if (i % 2) EXPECT(idle.status().cores.size() == idle.core_count());
  }
  for (int i = 0; i < 100; ++i) {
    engine_ears ears;
    std::vector<std::pair<at::Tensor, std::future<c10::IValue>>> calls;
    {
      engine host{ears.options(1 + static_cast<std::size_t>(i) % 4)};
      data_parallel parallel{host, model};
      for (int call = 0; call < 20; ++call) {
        const auto x = counted({1 + (call + i) % 9, 3});
        calls.emplace_back(x, parallel.submit({x}));
      }
    }
    const auto result = ends_of(calls);
    NOTE(result.note);
    EXPECT(result.answered == 20);  // accepted, so answered before the engine ends
  }
}

TEST_CASE(
    "futures become ready when the engine ends with thousands in flight: answered within the bound, else draining") {
  for (const auto bound :
       {std::chrono::milliseconds{60'000}, std::chrono::milliseconds{0}, std::chrono::milliseconds{20}}) {
    engine_ears ears;
    auto options = ears.options(3);
    options.shutdown_bound = bound;
    std::vector<std::pair<at::Tensor, std::future<c10::IValue>>> calls;
    auto host = std::make_unique<engine>(options);
    data_parallel parallel{*host, plus_one(4)};
    for (int i = 0; i < 5000; ++i) {
      const auto x = counted({1 + i % 7, 3});
      calls.emplace_back(x, parallel.submit({x}));
    }
    host.reset();
    for (const auto& [x, future] : calls)
      REQUIRE(future.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
    const auto result = ends_of(calls);
    NOTE("bound " << bound.count() << " ms: " << result.note);
    EXPECT(result.other == 0);
    EXPECT(result.answered + result.draining == 5000);
    if (bound == std::chrono::milliseconds{60'000}) EXPECT(result.draining == 0);
  }
}

TEST_CASE("an engine that is shut down has answered what it accepted, and refuses what comes later") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(4)};
  auto future = parallel.submit({counted({9, 3})});
  host.shut_down();
  REQUIRE(future.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
  EXPECT(same(future.get().toTensor(), counted({9, 3}) + 1));
  host.shut_down();
  EXPECT(failure_of([&] { parallel({counted({1, 3})}); }).code == errc::draining);
  EXPECT(failure_of([&] { data_parallel{host, plus_one(4)}; }).code == errc::draining);
}

TEST_CASE("futures of threads that go on submitting while the engine ends are all answered or draining") {
  const auto model = plus_one(2);
  for (int round = 0; round < 10; ++round) {
    engine_ears ears;
    auto options = ears.options(2);
    options.shutdown_bound = std::chrono::milliseconds{round % 2 ? 0 : 60'000};
    auto host = std::make_unique<engine>(options);
    data_parallel parallel{*host, model};
    std::atomic<int> submitted{0};
    std::vector<ends> results(4);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < results.size(); ++t)
      threads.emplace_back([&, t] {
        std::vector<std::pair<at::Tensor, std::future<c10::IValue>>> calls;
        for (int i = 0; i < 1000; ++i) {
          const auto x = counted({1 + i % 5, 3});
          calls.emplace_back(x, parallel.submit({x}));
          ++submitted;
          submitted.notify_one();
        }
        results[t] = ends_of(calls);
      });
    for (auto n = submitted.load(); n < 500; n = submitted.load()) submitted.wait(n);
    host.reset();
    for (auto& thread : threads) thread.join();
    for (const auto& result : results) {
      NOTE(result.note);
      EXPECT(result.other == 0);
      EXPECT(result.answered + result.draining == 1000);
    }
  }
}

TEST_CASE("drain answers what was accepted, refuses what comes after, and says whether it was done in time") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, gated()};
  std::vector<std::pair<at::Tensor, std::future<c10::IValue>>> calls;
  {
    forward_gate gate;
    for (int i = 0; i < 50; ++i) calls.emplace_back(counted({3, 3}), parallel.submit({counted({3, 3})}));
    REQUIRE(gate.wait_for(2));
    EXPECT_FALSE(host.drain(std::chrono::milliseconds(1)));
    const auto late = failure_of_future(parallel.submit({counted({1, 3})}));
    EXPECT(late.code == errc::draining);
    EXPECT(retryable(late.code));
    EXPECT(failure_of([&] { parallel({counted({1, 3})}); }) == late);
    EXPECT(host.status().unanswered == 50);
  }
  EXPECT(host.drain(std::chrono::minutes(1)));
  for (const auto& [x, future] : calls) REQUIRE(future.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
  EXPECT(ends_of(calls).answered == 50);
  EXPECT(host.drain(std::chrono::milliseconds(0)));
}

TEST_CASE("a data_parallel that outlives its engine answers draining, and so does the engine it was made on") {
  engine_ears ears;
  auto host = std::make_unique<engine>(ears.options(2));
  data_parallel parallel{*host, plus_one(2)};
  EXPECT(same(answer(parallel, {counted({3, 3})}), counted({3, 3}) + 1));
  host.reset();
  EXPECT(failure_of([&] { parallel({counted({3, 3})}); }).code == errc::draining);
  EXPECT(failure_of_future(parallel.submit({counted({3, 3})})).code == errc::draining);
  parallel.num_workers(3);
  parallel.split_size(2);
  parallel.disable_dynamic_batching();
  EXPECT(parallel.num_workers() == 3);
  EXPECT(parallel.cores().size() == 2);
  EXPECT(parallel.warnings().empty());
  auto moved = std::move(parallel);
  EXPECT(failure_of([&] { moved({counted({4, 3})}); }).code == errc::draining);
}

TEST_CASE("a data_parallel that is destroyed with futures outstanding still answers them") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto model = gated();
  std::vector<std::pair<at::Tensor, std::future<c10::IValue>>> calls;
  {
    auto parallel = std::make_unique<data_parallel>(host, model);
    forward_gate gate;
    for (int i = 0; i < 100; ++i) calls.emplace_back(counted({4, 3}), parallel->submit({counted({4, 3})}));
    REQUIRE(gate.wait_for(2));
    parallel.reset();
  }
  const auto result = ends_of(calls);
  NOTE(result.note);
  EXPECT(result.answered == 100);
  // Its cores let the model go, and the engine serves others.
  data_parallel next{host, plus_one(2)};
  EXPECT(same(answer(next, {counted({5, 3})}), counted({5, 3}) + 1));
}

TEST_CASE("a data_parallel that is destroyed leaves what it sent open to cancellation") {
  gated_engine g;
  std::optional<data_parallel> parallel{std::move(g.parallel)};
  std::vector<std::future<response>> out;
  std::stop_source source;
  {
    forward_gate gate;
    auto running = parallel->submit({counted({8, 3})});
    REQUIRE(gate.wait_for(1));
    for (int i = 0; i < 100; ++i) out.push_back(parallel->submit({counted({8, 3})}, with(source)));
    parallel.reset();
    source.request_stop();
    for (auto& f : out) {
      REQUIRE(ready(f));
      EXPECT(failure_of_future(std::move(f)).code == errc::cancelled);
    }
    gate.open();
    REQUIRE(ready(running));
    running.get();
  }
  REQUIRE(at_rest(g.host));
  EXPECT(g.ears.executions().size() <= 3);  // what ran, and what had gone to the core
}

TEST_CASE("data_parallels come and go on one engine while others work") {
  engine_ears ears;
  engine host{ears.options(3)};
  const auto model = plus_one(2), other = plus_one(3);
  data_parallel steady{host, model};
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 40; ++i) {
        data_parallel brief{host, (t + i) % 2 ? model : other};
        auto future = brief.submit({counted({7, 3})});
        if (!same(answer(steady, {counted({5, 3})}), counted({5, 3}) + 1)) ++wrong;
        if (i % 3 == 0) brief = data_parallel{host, model};
        if (!ready(future) || !same(future.get().toTensor(), counted({7, 3}) + 1)) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT(wrong == 0);
}

TEST_CASE("what waits is limited in rows: beyond it the answer is queue_full, and later there is room again") {
  engine_ears ears;
  auto options = ears.options(2);
  options.max_queued_rows = 10;
  engine host{options};
  data_parallel parallel{host, gated(), {.num_workers = 1}};
  std::vector<std::pair<at::Tensor, std::future<c10::IValue>>> calls;
  const auto submit = [&](std::int64_t rows) {
    calls.emplace_back(counted({rows, 3}), parallel.submit({counted({rows, 3})}));
  };
  {
    forward_gate gate;
    submit(1);
    REQUIRE(gate.wait_for(1));
    submit(4);
    submit(6);
    const auto f = failure_of_future(parallel.submit({counted({1, 3})}));
    EXPECT(f.code == errc::queue_full);
    EXPECT(retryable(f.code));
    EXPECT(contains(f.text, "10 rows wait and 1 more would pass max_queued_rows = 10"));
    EXPECT(failure_of([&] { parallel({counted({1, 3})}); }).code == errc::queue_full);
    EXPECT(host.status().queued_rows == 10);
  }
  auto result = ends_of(calls);
  EXPECT(result.answered == 3);
  // A request that is larger by itself is taken where nothing waits.
  EXPECT(same(answer(parallel, {counted({40, 3})}), counted({40, 3}) + 1));
}

TEST_CASE("what waits is limited in bytes too") {
  engine_ears ears;
  auto options = ears.options(1);
  options.max_queued_bytes = 1000;
  engine host{options};
  data_parallel parallel{host, gated(), {.num_workers = 1}};
  std::vector<std::pair<at::Tensor, std::future<c10::IValue>>> calls;
  {
    forward_gate gate;
    calls.emplace_back(counted({1, 3}), parallel.submit({counted({1, 3})}));
    REQUIRE(gate.wait_for(1));
    calls.emplace_back(counted({83, 3}), parallel.submit({counted({83, 3})}));  // 996 bytes
    const auto f = failure_of_future(parallel.submit({counted({1, 3})}));
    EXPECT(f.code == errc::queue_full);
    EXPECT(contains(f.text, "996 bytes wait and 12 more would pass max_queued_bytes = 1000"));
    EXPECT(host.status().queued_bytes == 996);
  }
  EXPECT(ends_of(calls).answered == 2);
}

TEST_CASE("limits that cannot be are refused") {
  for (const std::int64_t limit : {std::int64_t{0}, std::int64_t{-1}}) {
    engine_options rows{.host_cores = 1}, bytes{.host_cores = 1};
    rows.max_queued_rows = limit;
    bytes.max_queued_bytes = limit;
    EXPECT(failure_of([&] { engine{rows}; }).code == errc::invalid_argument);
    EXPECT(failure_of([&] { engine{bytes}; }).code == errc::invalid_argument);
  }
}

TEST_CASE("an engine that is moved keeps serving, and the one it replaced ends") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(2)};
  engine moved{std::move(host)};
  EXPECT(same(answer(parallel, {counted({3, 3})}), counted({3, 3}) + 1));
  engine other{ears.options(3)};
  data_parallel on_other{other, plus_one(2)};
  moved = std::move(other);
  EXPECT(moved.core_count() == 3);
  EXPECT(failure_of([&] { parallel({counted({3, 3})}); }).code == errc::draining);
  EXPECT(same(answer(on_other, {counted({3, 3})}), counted({3, 3}) + 1));
}

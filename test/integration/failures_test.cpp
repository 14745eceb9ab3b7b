// S24: chunks that fail.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>

#include <fmt/format.h>

#include <atomic>
#include <thread>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

// -- S24 -------------------------------------------------------------------------------------------------------------

TEST_CASE(
    "S24: a chunk that fails fails its request once, with the model's message, the chunk, its rows and the core") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto model = compiled(modules::fails_on_marked_rows(), {at::rand({4, 3})});
  data_parallel parallel{host, model};
  auto x = at::rand({22, 3});
  x[13].fill_(2e6);
  for (int round = 0; round < 10; ++round) {
    const auto f = failure_of([&] { parallel({x}); });
    NOTE(f.text);
    EXPECT(f.code == errc::forward_failed);
    EXPECT(contains(f.text, "a row is marked"));
    EXPECT(contains(f.text, "chunk 3 (rows 12 to 15)"));
    EXPECT(contains(f.text, fmt::format("core nc:{}", f.core)));
    EXPECT(f.first_row == 12);
    EXPECT(f.last_row == 16);
    EXPECT((f.core == 0 || f.core == 1));
  }
  const auto y = at::rand({22, 3});
  EXPECT(same(answer(parallel, {y}), y + 1));
  EXPECT(at_rest(host));
}

TEST_CASE("S24: of many batches that went to a core together the one that fails is named, and the next request runs") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::fails_on_marked_rows(), {at::ones({4, 3})})};
  auto x = at::ones({4'000, 3});
  for (int round = 0; round < 5; ++round) {
    x[3'333].fill_(2e6);
    const auto f = failure_of([&] { parallel({x}); });
    NOTE(f.text);
    EXPECT(f.code == errc::forward_failed);
    EXPECT(contains(f.text, "on chunk 833 (rows 3332 to 3335)"));
    EXPECT(f.first_row == 3'332);
    EXPECT(f.last_row == 3'336);
    x[3'333].fill_(1);
    EXPECT(same(answer(parallel, {x}), x + 1));
  }
}

TEST_CASE("S24: so does a chunk that fails without dynamic batching or along another dim") {
  engine_ears ears;
  engine host{ears.options(4)};
  const auto model = compiled(modules::fails_on_marked_rows(), {at::rand({3, 2})});
  for (const std::int64_t dim : {0, 1}) {
    data_parallel parallel{host, model, {.dim = dim, .dynamic_batching = false}};
    auto x = dim == 0 ? at::rand({12, 2}) : at::rand({3, 8});
    x.select(dim, dim == 0 ? 7 : 5).fill_(2e6);
    const auto f = failure_of([&] { parallel({x}); });
    NOTE(f.text);
    EXPECT(f.code == errc::forward_failed);
    EXPECT(contains(f.text, "chunk 2"));
    EXPECT(f.first_row == (dim == 0 ? 6 : 4));
    EXPECT(f.last_row == (dim == 0 ? 9 : 6));
    x.fill_(1);
    EXPECT(same(answer(parallel, {x}), x + 1));
  }
}

TEST_CASE("S24: every chunk failing is still one failure") {
  engine_ears ears;
  engine host{ears.options(4)};
  data_parallel parallel{host, compiled(modules::fails_on_marked_rows(), {at::rand({1, 3})})};
  for (int round = 0; round < 20; ++round) {
    auto future = parallel.submit({at::full({64, 3}, 2e6)});
    EXPECT(failure_of_future(std::move(future)).code == errc::forward_failed);
  }
  EXPECT(same(answer(parallel, {counted({5, 3})}), counted({5, 3}) + 1));
}

TEST_CASE("S24: what waits of a request that failed is cancelled, not run") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::fails_on_marked_rows(), {at::rand({1, 3})}), {.num_workers = 1}};
  auto x = at::rand({64, 3});
  x[0].fill_(2e6);
  auto failed = parallel.submit({x}), next = parallel.submit({counted({2, 3})});
  const auto f = failure_of_future(std::move(failed));
  EXPECT(f.code == errc::forward_failed);
  EXPECT(f.first_row == 0);
  REQUIRE(ready(next));
  EXPECT(same(next.get().toTensor(), counted({2, 3}) + 1));
  const auto records = ears.wait_for_executions(3);
  EXPECT(forwards_of(records) == 3);
  EXPECT(std::count_if(records.begin(), records.end(), [](const auto& r) { return r.failed; }) == 1);
}

TEST_CASE("S24: a forward that gets no memory fails the requests that own the rows, and the core serves on") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto greedy = modules::scripted(R"(
def forward(self, x):
  if bool(torch.any(x > 1e6)):
    return x + torch.ones([1125899906842624]).sum()
  return x + 1
)");
  data_parallel parallel{host, compiled(greedy, {at::ones({8, 3})})};
  std::vector<std::future<c10::IValue>> futures;
  for (int i = 0; i < 200; ++i)
    futures.push_back(parallel.submit({i % 10 == 7 ? at::full({1, 3}, 2e6) : counted({1, 3})}));
  for (int i = 0; i < 200; ++i) {
    auto& future = futures[static_cast<std::size_t>(i)];
    if (i % 10 == 7) {
      auto f = failure_of_future(std::move(future));
      NOTE(f.text);
      EXPECT(f.code == errc::forward_failed);
      EXPECT(contains(f.text, "memory"));
    } else {
      REQUIRE(ready(future));
      EXPECT(same(future.get().toTensor(), counted({1, 3}) + 1));
    }
  }
  EXPECT(at_rest(host));
  for (const auto& core : host.status().cores) EXPECT(core.restarts == 0);
}

TEST_CASE("S24: other requests are untouched by one that fails, from many threads at once") {
  engine_ears ears;
  engine host{ears.options(4)};
  const auto model = compiled(modules::fails_on_marked_rows(), {at::rand({4, 3})});
  data_parallel parallel{host, model}, neighbour{host, model};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        auto& target = i % 2 ? parallel : neighbour;
        auto x = at::full({1 + (t * 7 + i) % 19, 3}, t * 1000.0 + i);
        const bool marked = (t + i) % 3 == 0;
        if (marked) x[x.size(0) / 2].fill_(2e6);
        try {
          const auto y = target({x}).toTensor();
          if (marked || !same(y, x + 1)) ++wrong;
        } catch (const error& e) {
          if (!marked || e.failure().code != errc::forward_failed) ++wrong;
        }
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT(wrong == 0);
  EXPECT(at_rest(host));
}

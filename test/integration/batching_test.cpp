// S12 to S14, S25: how requests become executions, with dynamic batching and without.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <fmt/format.h>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

// -- S12 -------------------------------------------------------------------------------------------------------------

TEST_CASE("S12: 22 rows on a batch of 5 run as 5, 5, 5, 5 and 2, padded by 3, and no core runs more than 2") {
  engine_ears ears;
  engine host{ears.options(4)};
  data_parallel parallel{host, plus_one(5)};
  const auto x = counted({22, 3});
  for (int round = 0; round < 20; ++round) {
    ears.forget();
    EXPECT(same(answer(parallel, {x}), x + 1));
    const auto records = ears.wait_for_executions(5);
    EXPECT((rows_of(records) == std::vector<std::int64_t>{5, 5, 5, 5, 2}));
    for (const auto& r : records) EXPECT(r.padding_rows == 5 - r.rows);
    for (const auto& [core, count] : executions_per_core(records)) EXPECT(count <= 2);
  }
}

TEST_CASE("S12: any number of rows runs on one compiled size, with no more executions than it needs, evenly") {
  engine_ears ears;
  engine host{ears.options(4)};
  for (const std::size_t batch : {1u, 2u, 5u, 8u}) {
    data_parallel parallel{host, plus_one(static_cast<std::int64_t>(batch))};
    for (const std::size_t rows : {1u, 2u, 3u, 5u, 7u, 8u, 16u, 17u, 33u, 64u}) {
      ears.forget();
      const auto x = counted({static_cast<std::int64_t>(rows), 3});
      EXPECT(same(answer(parallel, {x}), x + 1));
      const auto needed = ceil_div(rows, batch);
      const auto records = ears.wait_for_executions(needed);
      NOTE(rows << " rows on a batch of " << batch);
      EXPECT(forwards_of(records) == needed);
      std::int64_t padding = 0;
      for (const auto& r : records) padding += r.padding_rows;
      EXPECT(padding == static_cast<std::int64_t>(needed * batch - rows));
      for (const auto& [core, count] : executions_per_core(records)) EXPECT(count <= ceil_div(needed, 4));
    }
  }
}

TEST_CASE("S12: full batches of a long request of quick forwards go to a core together, and each is one of them") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(4)};
  const auto x = counted({4'003, 3});
  std::size_t fewest = 1'001;
  // A busy machine takes a forward for slow now and then.
  for (int round = 0; round < 10 || (fewest >= 500 && round < 200); ++round) {
    ears.forget();
    EXPECT(same(answer(parallel, {x}), x + 1));
    const auto records = ears.wait_for_executions(1'001);
    EXPECT(forwards_of(records) == 1'001);
    fewest = std::min(fewest, records.size());
    for (const auto& r : records) {
      EXPECT(r.rows + r.padding_rows == 4 * r.forwards);
      EXPECT((r.forwards == 1 || r.padding_rows == 0));
    }
    for (const auto& [core, count] : executions_per_core(records)) EXPECT(count <= 501);
  }
  EXPECT(fewest < 500);
}

TEST_CASE("S12: no core of an idle engine runs more than its share of a long request of slow executions") {
  engine_ears ears;
  engine host{ears.options(4)};
  const auto module = modules::scripted(R"(
def forward(self, x):
  y = x
  for i in range(300):
    y = torch.sin(y) + x
  return y
)");
  const auto model = compiled(module, {at::rand({1, 512})});
  data_parallel parallel{host, model};
  const auto x = at::rand({90, 512});
  EXPECT(same(answer(parallel, {x}), source_answer(model, {x}).toTensor()));
  const auto records = ears.wait_for_executions(90);
  for (const auto& [core, count] : executions_per_core(records)) EXPECT(count <= ceil_div(90, 4));
}

TEST_CASE("S12: no rows give an empty answer of the right shapes and dtypes, and the model is not run") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto module = modules::scripted(R"(
def forward(self, x):
  assert x.size(0) == 3, "only at the compiled size"
  return (x + 1, {"ids": torch.argmax(x, 1), "flags": x > 0}, 7)
)");
  data_parallel parallel{host, compiled(module, {at::rand({3, 4, 2})})};
  const auto result = parallel({at::ones({0, 4, 2})});
  const auto leaves = leaves_of(result);
  REQUIRE(leaves.size() == 4);
  EXPECT((leaves[0].value.toTensor().sizes() == at::IntArrayRef{0, 4, 2}));
  EXPECT((leaves[0].value.toTensor().scalar_type() == at::kFloat));
  EXPECT((leaves[1].value.toTensor().sizes() == at::IntArrayRef{0, 2}));
  EXPECT((leaves[1].value.toTensor().scalar_type() == at::kLong));
  EXPECT((leaves[2].value.toTensor().scalar_type() == at::kBool));
  EXPECT(leaves[3].value.toInt() == 7);
  parallel({at::rand({4, 4, 2})});
  EXPECT(ears.wait_for_executions(2).size() == 2);  // those of the second request alone
}

TEST_CASE("S12: no rows with other values beside them than the example's are answered as the module answers those") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto module = modules::scripted(R"(
def forward(self, x, n: int):
  assert bool((x >= 5).all()), "only such as the example's"
  return x.repeat(1, n), n
)");
  data_parallel parallel{host, compiled(module, {at::randint(5, 9, {3, 2}), 2})};
  const auto answer_to = [&](const at::Tensor& x, std::int64_t n, request_options options = {}) {
    return parallel.submit({x, n}, std::move(options)).get();
  };
  const auto none = at::empty({0, 2}, at::kLong);
  const auto expect_answer = [&](const response& r, std::int64_t n) {
    const auto leaves = leaves_of(r.outputs);
    REQUIRE(leaves.size() == 2);
    EXPECT((leaves[0].value.toTensor().sizes() == at::IntArrayRef{0, 2 * n}));
    EXPECT((leaves[0].value.toTensor().scalar_type() == at::kLong));
    EXPECT(leaves[1].value.toInt() == n);
  };
  const auto known = answer_to(none, 2);
  expect_answer(known, 2);
  EXPECT(known.timing.executions == 0);
  const auto other = answer_to(none, 4);
  expect_answer(other, 4);
  EXPECT(other.timing.executions == 1);
  EXPECT(parallel.warnings().empty());
  // The given tensor fits the example's answer, and not this one.
  request_options options;
  options.outputs = {at::empty({0, 4}, at::kLong)};
  EXPECT(failure_of([&] { answer_to(none, 3, options); }).code == errc::gather_mismatch);
  data_parallel fixed{host, compiled(modules::scripted("def forward(self, x, n: int):\n  return x + 1, n\n"),
                                     {counted({3, 2}), 2})};
  options.outputs = {at::empty({0, 2})};
  auto into_it = fixed.submit({at::empty({0, 2}), 7}, options).get();
  EXPECT(leaves_of(into_it.outputs)[0].value.toTensor().is_same(options.outputs[0]));
  EXPECT(leaves_of(into_it.outputs)[1].value.toInt() == 7);
  // A tensor of no dimension goes to every chunk, as a number does.
  data_parallel by_tensor{host, compiled(modules::scripted("def forward(self, x, n):\n  return x.repeat(1, int(n))\n"),
                                         {counted({3, 2}), at::scalar_tensor(2, at::kLong)})};
  EXPECT((answer(by_tensor, {at::empty({0, 2}), at::scalar_tensor(3, at::kLong)}).sizes() == at::IntArrayRef{0, 6}));
  parallel.disable_dynamic_batching();
  EXPECT(failure_of([&] { answer_to(none, 4); }).code == errc::batch_size_mismatch);
}

TEST_CASE("S12: no rows are answered into the tensor that was given, and nothing is made in its place") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(5)};
  request_options options;
  options.outputs = {at::empty({0, 3})};
  EXPECT(parallel.submit({counted({0, 3})}, options).get().outputs.toTensor().is_same(options.outputs[0]));
}

// -- S13, S14 --------------------------------------------------------------------------------------------------------

TEST_CASE("S13: without dynamic batching the rows over the cores are the compiled size exactly, or nothing runs") {
  engine_ears ears;
  engine host{ears.options(4)};
  struct row {
    std::int64_t compiled, cores, rows;
    std::string quotient;
  };
  const std::vector<row> table{{1, 4, 8, "2"},    {1, 4, 5, "1.25"}, {1, 4, 3, "0.75"}, {1, 4, 0, "0"},
                               {2, 4, 4, "1"},    {2, 4, 9, "2.25"}, {2, 4, 7, "1.75"}, {2, 4, 16, "4"},
                               {3, 3, 10, "3.333"}, {3, 3, 8, "2.667"}, {5, 1, 4, "4"}, {5, 1, 10, "10"}};
  for (const auto& [compiled_size, cores, rows, quotient] : table) {
    std::vector<device_id> ids;
    for (int i = 0; i < cores; ++i) ids.emplace_back(i);
    data_parallel parallel{host, plus_one(compiled_size), {.device_ids = ids, .dynamic_batching = false}};
    ears.forget();
    const auto f = failure_of([&] { parallel({at::ones({rows, 3})}); });
    NOTE(f.text);
    EXPECT(f.code == errc::batch_size_mismatch);
    EXPECT(contains(f.text, fmt::format("input.shape[0] = {} over {} core{} is {}, but the model was compiled for {}",
                                        rows, cores, cores == 1 ? "" : "s", quotient, compiled_size)));
    EXPECT(contains(f.text, "input.shape[dim] / len(device_ids) must equal compilation_input.shape[dim]"));
    EXPECT(contains(f.text, fmt::format("give {} rows", cores * compiled_size)));
    EXPECT(ears.executions().empty());
    const auto x = counted({cores * compiled_size, 3});
    EXPECT(same(answer(parallel, {x}), x + 1));
    for (const auto& r : ears.wait_for_executions(static_cast<std::size_t>(cores))) {
      EXPECT(r.rows == compiled_size);
      EXPECT(r.padding_rows == 0);
    }
  }
}

TEST_CASE("S13: the same holds along another dim, which the message names") {
  engine_ears ears;
  engine host{ears.options(4)};
  data_parallel parallel{host, compiled(modules::plus_one(), {at::ones({1, 3, 8, 8})}), {.dim = 2}};
  EXPECT(same(answer(parallel, {counted({1, 3, 32, 8})}), counted({1, 3, 32, 8}) + 1));
  const auto f = failure_of([&] { parallel({at::ones({1, 3, 30, 8})}); });
  EXPECT(f.code == errc::batch_size_mismatch);
  EXPECT(contains(f.text, "input.shape[2] = 30 over 4 cores is 7.5, but the model was compiled for 8"));
}

TEST_CASE("S14: calls in flight when dynamic batching is disabled end under the old rule") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(gated_plus_one(), {at::ones({2, 3})}), {.num_workers = 1, .split_size = 2}};
  const auto x = counted({7, 3});
  std::future<c10::IValue> running, waiting, refused;
  {
    forward_gate gate;
    running = parallel.submit({x});
    waiting = parallel.submit({x * 2});
    REQUIRE(gate.wait_for(1));
    parallel.disable_dynamic_batching();
    EXPECT_FALSE(parallel.dynamic_batching());
    // The rule changes at once for what comes later, while the others still stand before the gate.
    refused = parallel.submit({x});
    EXPECT(failure_of_future(std::move(refused)).code == errc::batch_size_mismatch);
  }
  REQUIRE(ready(running));
  EXPECT(same(running.get().toTensor(), x + 1));
  REQUIRE(ready(waiting));
  EXPECT(same(waiting.get().toTensor(), x * 2 + 1));
  EXPECT(same(answer(parallel, {counted({4, 3})}), counted({4, 3}) + 1));
}

TEST_CASE("S14: disabling is for good and resets nothing else") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(2), {.num_workers = 3, .split_size = 4}};
  parallel.disable_dynamic_batching();
  parallel.disable_dynamic_batching();
  EXPECT_FALSE(parallel.dynamic_batching());
  EXPECT(parallel.num_workers() == 3);
  EXPECT(parallel.split_size() == 4);
  EXPECT(failure_of([&] { parallel({at::ones({5, 3})}); }).code == errc::batch_size_mismatch);
  parallel.num_workers(2);
  parallel.split_size(1);
  EXPECT_FALSE(parallel.dynamic_batching());
  EXPECT(failure_of([&] { parallel({at::ones({5, 3})}); }).code == errc::batch_size_mismatch);
  EXPECT(same(answer(parallel, {counted({4, 3})}), counted({4, 3}) + 1));
}

TEST_CASE("S14: it can be off from the start, for one data_parallel and not for another of the same model") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto model = plus_one(2);
  data_parallel off{host, model, {.dynamic_batching = false}}, on{host, model};
  EXPECT_FALSE(off.dynamic_batching());
  EXPECT(off.warnings().empty());
  EXPECT(failure_of([&] { off({at::ones({5, 3})}); }).code == errc::batch_size_mismatch);
  EXPECT(on.dynamic_batching());
  EXPECT(same(answer(on, {counted({5, 3})}), counted({5, 3}) + 1));
}

// -- S25 -------------------------------------------------------------------------------------------------------------

TEST_CASE("S25: fewer rows than cores, and rows that do not divide, work, and idle cores are mentioned once") {
  engine_ears ears;
  engine host{ears.options(4)};
  for (const std::int64_t batch : {1, 3}) {
    data_parallel parallel{host, plus_one(batch)};
    for (int again = 0; again < 2; ++again)
      for (const std::int64_t rows : {1, 2, 3, 5, 6, 7, 13})
        EXPECT(same(answer(parallel, {counted({rows, 3})}), counted({rows, 3}) + 1));
    EXPECT(count_of(parallel.warnings(), "of 4 cores some stay idle") == 1);
    EXPECT(parallel.warnings().size() == 1);
  }
  data_parallel enough{host, plus_one(2)};
  answer(enough, {counted({8, 3})});
  answer(enough, {counted({7, 3})});
  EXPECT(enough.warnings().empty());
}

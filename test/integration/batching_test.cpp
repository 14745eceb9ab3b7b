// S9 to S14, S19, S20, S25: the scattered dimension, dynamic batching, and how requests become executions.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/faulty_lane.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <fmt/format.h>

#include <random>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

namespace {

std::size_t ceil_div(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

/// The rows of executions, in the order of their formation.
std::vector<std::int64_t> rows_of(std::vector<execution_record> records) {
  std::sort(records.begin(), records.end(), [](const auto& a, const auto& b) { return a.execution_id < b.execution_id; });
  std::vector<std::int64_t> result;
  for (const auto& r : records) result.push_back(r.rows);
  return result;
}

compiled_model plus_one(std::int64_t batch) { return compiled(modules::plus_one(), {at::ones({batch, 3})}); }

}  // namespace

// -- S9 --------------------------------------------------------------------------------------------------------------

TEST_CASE("S9: inputs are scattered and answers gathered along any dimension, and dim is 0 if not given") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto model = compiled(modules::plus_one(), {at::ones({2, 3, 4})});
  EXPECT(same(answer(*std::make_unique<data_parallel>(host, model), {counted({8, 3, 4})}), counted({8, 3, 4}) + 1));
  for (const std::int64_t dim : {0, 1, 2, -1, -2, -3}) {
    data_parallel parallel{host, model, {.dim = dim}};
    std::vector<std::int64_t> shape{2, 3, 4};
    shape[static_cast<std::size_t>(dim < 0 ? dim + 3 : dim)] *= 2;
    NOTE("dim " << dim);
    EXPECT(same(answer(parallel, {counted(shape)}), counted(shape) + 1));
    EXPECT(parallel.dynamic_batching() == (dim == 0 || dim == -3));
  }
}

TEST_CASE("S9: a model that mixes values along dim gets each core's part by itself") {
  engine_ears ears;
  engine host{ears.options(4)};
  const auto model = compiled(modules::conv_plus_one(), {at::rand({1, 3, 8, 8})});
  const auto x = at::rand({1, 3, 32, 8});
  data_parallel parallel{host, model, {.device_ids = {0, 1, 2, 3}, .dim = 2}};
  const auto y = answer(parallel, {x});
  std::vector<at::Tensor> parts;
  for (const auto& part : x.chunk(4, 2)) parts.push_back(source_answer(model, {part}).toTensor());
  EXPECT(same(y, at::cat(parts, 2)));
  EXPECT((y.sizes() == at::IntArrayRef{1, 3, 24, 6}));
}

TEST_CASE("S9: a dim that some scattered input does not have is dim_out_of_range") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto one = compiled(modules::plus_one(), {at::ones({2, 3})});
  for (const std::int64_t dim : {2, -3, 100, -100}) {
    const auto f = failure_of([&] { data_parallel{host, one, {.dim = dim}}; });
    NOTE(f.text);
    EXPECT(f.code == errc::dim_out_of_range);
    EXPECT(contains(f.text, fmt::format("dim {} is out of range for input x, which is f32[2,3]", dim)));
  }
  const auto module = modules::scripted("def forward(self, x, y):\n  return x + torch.unsqueeze(y, 1)\n");
  const auto two = compiled(module, {at::ones({2, 3}), at::ones({2})});
  const auto f = failure_of([&] { data_parallel{host, two, {.dim = 1}}; });
  EXPECT(f.code == errc::dim_out_of_range);
  EXPECT(contains(f.text, "input y, which is f32[2]"));
  data_parallel parallel{host, two};
  EXPECT(same(answer(parallel, {counted({5, 3}), counted({5})}), counted({5, 3}) + counted({5}).unsqueeze(1)));
}

// -- S10, S11 --------------------------------------------------------------------------------------------------------

TEST_CASE("S10: dynamic batching is on by itself for a model whose rows are independent, without a word") {
  engine_ears ears;
  engine host{ears.options(2)};
  for (const std::int64_t batch : {1, 4}) {
    data_parallel parallel{host, compiled(modules::linear(), {at::rand({batch, 4})})};
    EXPECT(parallel.dynamic_batching());
    EXPECT(parallel.warnings().empty());
    const auto x = at::rand({11, 4});
    EXPECT(same(answer(parallel, {x}), source_answer(parallel.model(), {x}).toTensor()));
  }
}

TEST_CASE("S10: a mean over dim 0 is found out, not refused, and then needs exact sizes") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto model = compiled(modules::minus_batch_mean(), {at::rand({4, 3})});
  data_parallel parallel{host, model};
  EXPECT_FALSE(parallel.dynamic_batching());
  REQUIRE(parallel.warnings().size() == 1);
  EXPECT(contains(parallel.warnings()[0], "dynamic batching cannot be enabled"));
  EXPECT(contains(parallel.warnings()[0], "depends on its neighbours' rows"));
  const auto x = at::rand({8, 3});
  const auto halves = x.chunk(2, 0);
  EXPECT(same(answer(parallel, {x}), at::cat({source_answer(model, {halves[0]}).toTensor(),
                                              source_answer(model, {halves[1]}).toTensor()})));
  EXPECT(failure_of([&] { parallel({at::rand({7, 3})}); }).code == errc::batch_size_mismatch);
}

TEST_CASE("S10: at the traced size 1 a row has no neighbours, and needs no probe") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::minus_batch_mean(), {at::rand({1, 3})})};
  EXPECT(parallel.dynamic_batching());
  EXPECT(same(answer(parallel, {at::rand({5, 3})}), at::zeros({5, 3})));
}

TEST_CASE("S10: sizes that differ at dim 0, or an output without it, make a model not eligible") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto table = at::rand({6, 3});
  const auto looked_up = modules::scripted("def forward(self, x, table):\n  return torch.matmul(x, table)\n");
  const auto different = compiled(looked_up, {at::rand({2, 6}), table});
  EXPECT(contains(different.signature().not_eligible, "the inputs x and table have the sizes 2 and 6 at dim 0"));
  EXPECT(failure_of([&] { data_parallel{host, different}; }).code == errc::shape_mismatch);
  data_parallel total{host, compiled(modules::total(), {at::rand({2, 3})})};
  EXPECT_FALSE(total.dynamic_batching());
  data_parallel flat{host, compiled(modules::scripted("def forward(self, x):\n  return torch.flatten(x)\n"), {at::rand({2, 3})})};
  EXPECT_FALSE(flat.dynamic_batching());
  EXPECT(same(answer(flat, {counted({4, 3})}), counted({12})));
}

TEST_CASE("S10: rows made for the probe stay in the range of the example's integers") {
  engine_ears ears;
  engine host{ears.options(2)};
  torch::jit::Module module{"Net"};
  module.register_parameter("table", counted({4, 2}), false);
  module.define("def forward(self, x):\n  return torch.embedding(self.table, x)\n");
  const auto model = compiled(module, {at::tensor({0, 3, 1, 2}, at::kLong)});
  data_parallel parallel{host, model};
  EXPECT(parallel.dynamic_batching());
  const auto rows = at::randint(0, 4, {9}, at::kLong);
  EXPECT(same(answer(parallel, {rows}), counted({4, 2}).index_select(0, rows)));
}

TEST_CASE("S11: that dynamic batching cannot be enabled is said once, in the log and in warnings()") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::plus_one(), {at::ones({2, 3})}), {.dim = 1}};
  const std::string reason = "dynamic batching is disabled because dim = 1 is not 0";
  EXPECT(count_of(parallel.warnings(), reason) == 1);
  for (int i = 0; i < 3; ++i) answer(parallel, {at::ones({2, 6})});
  EXPECT(count_of(parallel.warnings(), reason) == 1);
  EXPECT(count_of(ears.sentences(), reason) == 1);
  EXPECT(contains(parallel.warnings()[0], "input.shape[1] must be 3 times the number of cores"));
  // Who turned it off need not be told.
  data_parallel off{host, compiled(modules::plus_one(), {at::ones({2, 3})}), {.dim = 1, .dynamic_batching = false}};
  EXPECT(off.warnings().empty());
}

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
      EXPECT(records.size() == needed);
      std::int64_t padding = 0;
      for (const auto& r : records) padding += r.padding_rows;
      EXPECT(padding == static_cast<std::int64_t>(needed * batch - rows));
      for (const auto& [core, count] : executions_per_core(records)) EXPECT(count <= ceil_div(needed, 4));
    }
  }
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
    EXPECT(contains(f.text, fmt::format("input.shape[0] = {} over {} core{} is {}, but the model was compiled for {}", rows,
                                        cores, cores == 1 ? "" : "s", quotient, compiled_size)));
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

// -- S19 -------------------------------------------------------------------------------------------------------------

TEST_CASE("S19: num_workers caps the executions in flight over all cores") {
  engine_ears ears;
  engine host{ears.options(4)};
  for (const std::size_t cap : {1u, 2u, 3u, 7u}) {
    data_parallel parallel{host, plus_one(1), {.num_workers = cap}};
    EXPECT(parallel.num_workers() == cap);
    ears.forget();
    std::vector<std::future<c10::IValue>> futures;
    for (int i = 0; i < 20; ++i) futures.push_back(parallel.submit({counted({10, 3})}));
    for (auto& f : futures) EXPECT(same(f.get().toTensor(), counted({10, 3}) + 1));
    const auto records = ears.wait_for_executions(200);
    EXPECT(largest_overlap(records) <= cap);
  }
}

TEST_CASE("S19: a cap is reached, can be changed later, and each data_parallel has its own") {
  engine_ears ears;
  engine host{ears.options(4)};
  const auto model = compiled(gated_plus_one(), {at::ones({1, 3})});
  data_parallel capped{host, model, {.num_workers = 1}}, other{host, model, {.device_ids = {3}, .num_workers = 1}};
  std::future<c10::IValue> long_one, short_one;
  {
    forward_gate gate;
    long_one = capped.submit({counted({9, 3})});
    REQUIRE(gate.wait_for(1));
    EXPECT(host.status().executions_in_flight == 1);
    short_one = other.submit({counted({2, 3})});
    REQUIRE(gate.wait_for(2));
    EXPECT(host.status().executions_in_flight == 2);
    capped.num_workers(3);
    REQUIRE(gate.wait_for(4));
    EXPECT(host.status().executions_in_flight == 4);
    EXPECT(capped.num_workers() == 3);
  }
  REQUIRE(ready(long_one));
  EXPECT(same(long_one.get().toTensor(), counted({9, 3}) + 1));
  REQUIRE(ready(short_one));
  EXPECT(same(short_one.get().toTensor(), counted({2, 3}) + 1));
}

TEST_CASE("S19: unset it reads 2 x cores, and no fewer than 2 executions a core are taken") {
  engine_ears ears;
  engine host{ears.options(3)};
  data_parallel parallel{host, compiled(gated_plus_one(), {at::ones({1, 3})})};
  EXPECT(parallel.num_workers() == 6);
  EXPECT((data_parallel{host, parallel.model(), {.device_ids = {2}}}.num_workers() == 2));
  std::future<c10::IValue> future;
  {
    forward_gate gate;
    future = parallel.submit({counted({40, 3})});
    REQUIRE(gate.wait_for(3));
    EXPECT(host.status().executions_in_flight >= 6);
  }
  REQUIRE(ready(future));
  EXPECT(same(future.get().toTensor(), counted({40, 3}) + 1));
}

TEST_CASE("S19: num_workers of 0 is invalid_argument, at construction and later") {
  engine_ears ears;
  engine host{ears.options(2)};
  EXPECT(failure_of([&] { data_parallel{host, plus_one(1), {.num_workers = 0}}; }).code == errc::invalid_argument);
  data_parallel parallel{host, plus_one(1), {.num_workers = 5}};
  EXPECT(failure_of([&] { parallel.num_workers(0); }).code == errc::invalid_argument);
  EXPECT(parallel.num_workers() == 5);
  EXPECT(same(answer(parallel, {counted({3, 3})}), counted({3, 3}) + 1));
}

// -- S20 -------------------------------------------------------------------------------------------------------------

TEST_CASE("S20: split_size is the rows of a chunk, the last one short, and a chunk stays on one core") {
  engine_ears ears;
  lane_faults lanes;
  auto options = ears.options(3);
  options.make_lane = lanes.factory();
  engine host{options};
  for (const std::int64_t split : {1, 3, 5, 7, 12, 22, 40}) {
    data_parallel parallel{host, plus_one(5), {.split_size = split}};
    EXPECT(parallel.split_size() == split);
    const auto before = lanes.started().size();
    const std::int64_t rows = 22;
    EXPECT(same(answer(parallel, {counted({rows, 3})}), counted({rows, 3}) + 1));
    const auto all = lanes.started();
    std::map<std::size_t, std::vector<lane_faults::started_rows>> chunks;
    for (auto i = before; i < all.size(); ++i) chunks[all[i].chunk].push_back(all[i]);
    NOTE("split_size " << split);
    REQUIRE(chunks.size() == ceil_div(22, static_cast<std::size_t>(split)));
    for (auto& [index, parts] : chunks) {
      auto first = static_cast<std::int64_t>(index) * split;
      auto size = std::min(split, rows - first);
      EXPECT(parts.size() == ceil_div(static_cast<std::size_t>(size), 5));
      std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.first_row < b.first_row; });
      for (const auto& part : parts) {
        EXPECT(part.core == parts.front().core);
        EXPECT(part.first_row == first);
        EXPECT(part.rows == std::min<std::int64_t>(5, size));
        first += part.rows;
        size -= part.rows;
      }
      EXPECT(size == 0);
    }
  }
}

TEST_CASE("S20: unset, a chunk is a compiled batch, and set later it holds for later calls") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(4)};
  EXPECT_FALSE(parallel.split_size().has_value());
  answer(parallel, {counted({10, 3})});
  EXPECT((rows_of(ears.wait_for_executions(3)) == std::vector<std::int64_t>{4, 4, 2}));
  parallel.split_size(3);
  ears.forget();
  answer(parallel, {counted({10, 3})});
  EXPECT((rows_of(ears.wait_for_executions(4)) == std::vector<std::int64_t>{3, 3, 3, 1}));
}

TEST_CASE("S20: without dynamic batching split_size has no meaning, which is said once") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(2), {.dynamic_batching = false, .split_size = 1}};
  for (int i = 0; i < 3; ++i) EXPECT(same(answer(parallel, {counted({4, 3})}), counted({4, 3}) + 1));
  for (const auto& r : ears.wait_for_executions(6)) EXPECT(r.rows == 2);
  EXPECT(count_of(parallel.warnings(), "split_size = 1 has no meaning while dynamic batching is off") == 1);
  EXPECT(count_of(ears.sentences(), "split_size = 1 has no meaning") == 1);
}

TEST_CASE("S20: a split_size below 1 is invalid_argument, at construction and later") {
  engine_ears ears;
  engine host{ears.options(2)};
  for (const std::int64_t rows : {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()}) {
    EXPECT(failure_of([&] { data_parallel{host, plus_one(1), {.split_size = rows}}; }).code == errc::invalid_argument);
    data_parallel parallel{host, plus_one(1), {.split_size = 2}};
    const auto f = failure_of([&] { parallel.split_size(rows); });
    EXPECT(f.code == errc::invalid_argument);
    EXPECT(contains(f.text, fmt::format("split_size is {}", rows)));
    EXPECT(parallel.split_size() == 2);
  }
  data_parallel parallel{host, plus_one(1), {.split_size = std::numeric_limits<std::int64_t>::max()}};
  EXPECT(same(answer(parallel, {counted({3, 3})}), counted({3, 3}) + 1));
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

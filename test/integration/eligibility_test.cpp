// S9 to S11: the scattered dimension, and which models dynamic batching is for.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>

#include <fmt/format.h>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

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
  data_parallel flat{
      host, compiled(modules::scripted("def forward(self, x):\n  return torch.flatten(x)\n"), {at::rand({2, 3})})};
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

// S26: results are those of the traced module run alone, and they belong to the caller.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>

#include <fmt/format.h>

#include <random>
#include <set>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

namespace {

/// A model and how to make inputs of it: so many rows, each telling where it stands.
struct subject {
  std::string name;
  torch::jit::Module module;
  std::function<std::vector<c10::IValue>(std::int64_t rows)> inputs;
};

at::Tensor some_rows(at::IntArrayRef trailing, std::int64_t rows, at::ScalarType dtype) {
  std::vector<std::int64_t> shape{rows};
  shape.insert(shape.end(), trailing.begin(), trailing.end());
  auto x = counted(shape).remainder(97) - 31;
  if (dtype == at::kBool) return x.remainder(3) > 0;
  if (at::isFloatingType(dtype)) return (x * 0.25).to(dtype);
  return x.abs().to(dtype);
}

std::vector<subject> subjects() {
  const auto of = [](std::vector<std::int64_t> trailing, at::ScalarType dtype = at::kFloat) {
    return
        [trailing, dtype](std::int64_t rows) -> std::vector<c10::IValue> { return {some_rows(trailing, rows, dtype)}; };
  };
  std::vector<subject> all;
  all.push_back({"linear", modules::linear(), of({4})});
  all.push_back({"convolution", modules::conv_plus_one(), of({3, 8, 8})});
  all.push_back({"gated convolution", modules::gated_conv(), of({3, 6, 6})});
  all.push_back({"identity", modules::no_op(), of({2, 3})});
  all.push_back({"writes to its input", modules::scripted("def forward(self, x):\n  return x.mul_(2)\n"), of({3})});
  all.push_back({"two inputs", modules::two_inputs(), [](std::int64_t rows) -> std::vector<c10::IValue> {
                   return {some_rows({3}, rows, at::kFloat), some_rows({3}, rows, at::kFloat) * 7};
                 }});
  all.push_back({"nested inputs", modules::nested_inputs(), [](std::int64_t rows) -> std::vector<c10::IValue> {
                   c10::Dict<std::string, at::Tensor> named;
                   named.insert("only", some_rows({3}, rows, at::kFloat) * 11);
                   return {c10::ivalue::Tuple::create(some_rows({3}, rows, at::kFloat),
                                                      some_rows({3}, rows, at::kFloat) * 2),
                           c10::List<at::Tensor>({some_rows({3}, rows, at::kFloat) * 3}), named};
                 }});
  all.push_back({"nested outputs", modules::nested_outputs(), of({5})});
  all.push_back({"dict of outputs", modules::dict_outputs(), of({2})});
  all.push_back({"plain outputs", modules::with_plain_outputs(), of({2})});
  all.push_back({"several dtypes", modules::scripted(R"(
def forward(self, x):
  return (torch.argmax(x, 1), [x.half(), x.double(), x > 0], {"scores": torch.softmax(x, 1)})
)"),
                 of({6})});
  for (auto dtype : {at::kLong, at::kInt, at::kShort, at::kByte, at::kDouble, at::kHalf, at::kBFloat16})
    all.push_back({fmt::format("plus one in {}", dtype_name(dtype)), modules::plus_one(), of({3}, dtype)});
  all.push_back(
      {"logical not", modules::scripted("def forward(self, x):\n  return torch.logical_not(x)\n"), of({3}, at::kBool)});
  all.push_back({"no trailing dimension", modules::plus_one(), of({})});
  all.push_back({"empty trailing dimension",
                 modules::scripted("def forward(self, x):\n  return torch.narrow(x, 1, 0, 0)\n"), of({3})});
  return all;
}

std::vector<at::Tensor> tensors_of(const c10::IValue& tree) {
  std::vector<at::Tensor> result;
  for (const auto& leaf : leaves_of(tree))
    if (leaf.value.isTensor()) result.push_back(leaf.value.toTensor());
  return result;
}

/// That a caller may do with an answer what it likes.
void expect_ordinary(const c10::IValue& result) {
  std::set<const void*> storages;
  for (auto y : tensors_of(result)) {
    EXPECT_FALSE(y.is_inference());
    EXPECT_FALSE(y.requires_grad());
    EXPECT_FALSE(y.is_view());
    EXPECT(y.is_contiguous());
    EXPECT(y.storage_offset() == 0);
    EXPECT(y.storage().nbytes() == y.nbytes());
    if (y.nbytes() > 0) EXPECT(storages.insert(y.storage().data()).second);
    y.zero_();
  }
}

}  // namespace

TEST_CASE("S26: results equal the module's for every number of rows, cores and compiled size") {
  std::mt19937 random{26};
  const auto between = [&random](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>{low, high}(random);
  };
  const auto all = subjects();
  for (std::size_t cores = 1; cores <= 5; ++cores) {
    engine_ears ears;
    engine host{ears.options(cores)};
    for (const auto& s : all) {
      const auto batch = between(1, 6);
      const auto model = compiled(s.module, s.inputs(batch));
      NOTE(s.name << ", " << cores << " cores, compiled for " << batch);
      data_parallel parallel{host, model};
      REQUIRE(parallel.dynamic_batching());
      for (const auto rows : {std::int64_t{0}, std::int64_t{1}, batch, between(1, 40), between(1, 40)}) {
        if (rows > 0 && between(0, 2) == 0) parallel.split_size(between(1, 15));
        NOTE(rows << " rows");
        const auto inputs = s.inputs(rows);
        const auto result = parallel(inputs);
        EXPECT(same(result, source_answer(model, s.inputs(rows))));
        expect_ordinary(result);
        for (std::size_t i = 0; i < inputs.size(); ++i) EXPECT(same(inputs[i], s.inputs(rows)[i]));
      }
    }
  }
}

TEST_CASE("S26: results are the same without dynamic batching, for every dim and number of cores") {
  const auto module = modules::scripted("def forward(self, x):\n  return (x * 2, [torch.cumsum(x, 1)])\n");
  const std::vector<std::int64_t> shape{2, 3, 4};
  const auto model = compiled(module, {at::rand(shape)});
  for (std::size_t cores = 1; cores <= 4; ++cores) {
    engine_ears ears;
    engine host{ears.options(cores)};
    for (std::int64_t dim = -3; dim < 3; ++dim) {
      data_parallel parallel{host, model, {.dim = dim, .dynamic_batching = false}};
      auto whole = shape;
      whole[static_cast<std::size_t>((dim + 3) % 3)] *= static_cast<std::int64_t>(cores);
      const auto x = counted(whole);
      std::vector<at::Tensor> doubled, summed;
      for (const auto& part : x.chunk(static_cast<std::int64_t>(cores), dim)) {
        const auto alone = tensors_of(source_answer(model, {part}));
        doubled.push_back(alone[0]);
        summed.push_back(alone[1]);
      }
      NOTE("dim " << dim << ", " << cores << " cores");
      const auto result = parallel({x});
      const auto y = tensors_of(result);
      REQUIRE(y.size() == 2);
      EXPECT(same(y[0], at::cat(doubled, dim)));
      EXPECT(same(y[1], at::cat(summed, dim)));
      expect_ordinary(result);
      EXPECT(same(x, counted(whole)));
    }
  }
}

TEST_CASE(
    "S26: inputs of any layout give the same results: views, transposed, expanded, with gradients, of inference mode") {
  engine_ears ears;
  engine host{ears.options(3)};
  const auto model = compiled(modules::linear(), {at::rand({2, 4})});
  data_parallel parallel{host, model};
  const auto base = at::rand({30, 9});
  at::Tensor inference;
  {
    c10::InferenceMode on;
    inference = at::rand({7, 4});
  }
  const std::vector<at::Tensor> inputs{base.narrow(1, 3, 4),
                                       base.narrow(0, 5, 4).t().narrow(1, 0, 4),
                                       at::rand({1, 4}).expand({7, 4}),
                                       at::rand({4, 7}).t(),
                                       base.slice(0, 0, 30, 3).narrow(1, 0, 4),
                                       at::rand({7, 4}).requires_grad_(),
                                       inference};
  for (const auto& x : inputs) {
    const auto result = parallel({x});
    EXPECT(same(result, source_answer(model, {x})));
    expect_ordinary(result);
  }
}

TEST_CASE("S26: an answer shares nothing with the inputs, the weights or another answer") {
  engine_ears ears;
  engine host{ears.options(2)};
  torch::jit::Module module{"Net"};
  module.register_parameter("weight", at::ones({4, 3}), false);
  module.define("def forward(self, x):\n  return (x, self.weight, torch.narrow(x, 1, 0, 2), x)\n");
  const auto model = compiled(module, {at::rand({4, 3})});
  for (const bool dynamic : {true, false}) {
    data_parallel parallel{host, model, {.dynamic_batching = dynamic}};
    const auto x = counted({8, 3});
    const auto first = parallel({x}), second = parallel({x});
    std::set<const void*> storages{x.storage().data()};
    for (const auto& result : {first, second})
      for (const auto& y : tensors_of(result)) EXPECT(storages.insert(y.storage().data()).second);
    expect_ordinary(first);  // zeroes it
    EXPECT(same(x, counted({8, 3})));
    EXPECT(same(tensors_of(second)[0], x));
    EXPECT(same(tensors_of(second)[1], at::ones({8, 3})));
    EXPECT(same(tensors_of(parallel({x}))[1], at::ones({8, 3})));
  }
}

TEST_CASE("S26: containers of an answer are its own too: a list may be changed") {
  engine_ears ears;
  engine host{ears.options(2)};
  torch::jit::Module module{"Net"};
  module.register_attribute("sizes", c10::ListType::ofInts(), c10::List<std::int64_t>({4, 5}));
  module.define("def forward(self, x):\n  return (x, self.sizes, [1, 2])\n");
  const auto model = compiled(module, {at::rand({4, 3})});
  for (const bool dynamic : {true, false}) {
    data_parallel parallel{host, model, {.dynamic_batching = dynamic}};
    for (int again = 0; again < 2; ++again) {
      const auto result = parallel({counted({8, 3})}).toTupleRef().elements().vec();
      for (std::size_t leaf : {1u, 2u}) {
        auto numbers = result[leaf].toIntList();
        EXPECT((numbers.vec() == (leaf == 1 ? std::vector<std::int64_t>{4, 5} : std::vector<std::int64_t>{1, 2})));
        numbers.push_back(6);
      }
    }
    const auto empty = parallel({counted({dynamic ? 0 : 8, 3})}).toTupleRef().elements().vec();
    empty[1].toIntList().clear();
    EXPECT(parallel({counted({dynamic ? 0 : 8, 3})}).toTupleRef().elements()[1].toIntList().size() == 2);
  }
}

TEST_CASE("S26: a model that changes a list it was given changes a copy, for every chunk") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto module = modules::scripted(R"(
def forward(self, x, steps: List[int]):
  steps.append(10)
  y = x
  for step in steps:
    y = y + step
  return y
)");
  const c10::List<std::int64_t> steps({1, 2});
  data_parallel parallel{host, compiled(module, {at::rand({2, 3}), steps})};
  for (int again = 0; again < 2; ++again)
    EXPECT(same(answer(parallel, {counted({9, 3}), steps}), counted({9, 3}) + 13));
  EXPECT(steps.size() == 2);
}

TEST_CASE("S26: one chunk on one core is no exception: its answer is a copy too") {
  engine_ears ears;
  engine host{ears.options(1)};
  const auto model = compiled(modules::no_op(), {at::rand({4, 3})});
  for (const std::int64_t dim : {0, 1})
    for (const bool dynamic : {true, false}) {
      data_parallel parallel{host, model, {.dim = dim, .dynamic_batching = dynamic}};
      const auto x = counted({4, 3});
      auto y = answer(parallel, {x});
      y.add_(1);
      EXPECT(same(x, counted({4, 3})));
      EXPECT(same(answer(parallel, {x}), x));
      expect_ordinary(y);
    }
}

TEST_CASE("S26: answers are usable in autograd, also when the caller is in inference mode") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::linear(), {at::rand({2, 4})})};
  at::Tensor y;
  {
    c10::InferenceMode on;
    y = answer(parallel, {at::rand({5, 4})});
  }
  EXPECT_FALSE(y.is_inference());
  auto weight = at::ones({5, 3}).requires_grad_();
  (y * weight).sum().backward();
  EXPECT(same(weight.grad(), y));
  y.requires_grad_();
  y.pow(2).sum().backward();
  EXPECT(same(y.grad(), y.detach() * 2));
}

TEST_CASE("S26: several models with their own data_parallels share an engine without mixing answers") {
  engine_ears ears;
  engine host{ears.options(3)};
  std::vector<std::unique_ptr<data_parallel>> models;
  for (int i = 0; i < 6; ++i)
    models.push_back(std::make_unique<data_parallel>(
        host, compiled(modules::scripted(fmt::format("def forward(self, x):\n  return x * {}\n", i + 1)),
                       {at::rand({1 + i, 3})})));
  std::vector<std::pair<std::size_t, std::future<c10::IValue>>> futures;
  for (std::size_t i = 0; i < 600; ++i)
    futures.emplace_back(
        i, models[i % 6]->submit({counted({static_cast<std::int64_t>(i % 13), 3}) + static_cast<double>(i)}));
  for (auto& [i, future] : futures) {
    REQUIRE(ready(future));
    EXPECT(same(future.get().toTensor(), (counted({static_cast<std::int64_t>(i % 13), 3}) + static_cast<double>(i)) *
                                             static_cast<double>(i % 6 + 1)));
  }
}

TEST_CASE("S26: the bf16 program gives the example's dtypes, near the module's values") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto model = trace(modules::linear(64, 32), {at::rand({4, 64})}, {.auto_cast = auto_cast::bf16, .tune = false});
  data_parallel parallel{host, model};
  const auto x = at::rand({11, 64});
  const auto y = answer(parallel, {x}), reference = source_answer(model, {x}).toTensor();
  EXPECT((y.scalar_type() == at::kFloat));
  EXPECT(at::allclose(y, reference, 3e-2, 3e-2));
}

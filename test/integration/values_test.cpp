// S21 to S23: several and nested inputs, outputs that are gathered, inputs that do not fit.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>

#include <fmt/format.h>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

namespace {

c10::IValue pair_of(c10::IValue a, c10::IValue b) { return c10::ivalue::Tuple::create(std::move(a), std::move(b)); }

c10::Dict<std::string, at::Tensor> dict_of(std::vector<std::pair<std::string, at::Tensor>> entries) {
  c10::Dict<std::string, at::Tensor> result;
  for (auto& [key, value] : entries) result.insert(key, value);
  return result;
}

/// The arguments of `nested_inputs`, with all tensors of so many rows.
std::vector<c10::IValue> nested(std::int64_t rows) {
  const auto x = counted({rows, 3});
  return {pair_of(x, x * 2), c10::List<at::Tensor>({x * 3, x * 4}), dict_of({{"b", x * 5}, {"a", x * 6}})};
}

/// A model that is like any other until it sees a value above 100.
torch::jit::Module surprising(const std::string& otherwise) {
  return modules::scripted(fmt::format(R"(
def forward(self, x):
  y = x + 1
  if bool(torch.any(x > 100)):
    y = {}
  return y
)",
                                       otherwise));
}

/// Ten rows; the last one is above 100 in every element.
at::Tensor with_a_surprise() {
  auto x = at::rand({10, 3});
  x[9].fill_(1000);
  return x;
}

}  // namespace

// -- S21 -------------------------------------------------------------------------------------------------------------

TEST_CASE("S21: several inputs are scattered together") {
  engine_ears ears;
  engine host{ears.options(3)};
  data_parallel parallel{host, compiled(modules::two_inputs(), {at::rand({2, 3}), at::rand({2, 3})})};
  const auto x = counted({11, 3}), y = counted({11, 3}) * 100;
  EXPECT(same(answer(parallel, {x, y}), x + 2 * y));
}

TEST_CASE("S21: nested tuples, lists and dicts are scattered leaf by leaf, and their types are kept") {
  engine_ears ears;
  engine host{ears.options(3)};
  const auto model = compiled(modules::nested_inputs(), nested(2));
  for (const bool dynamic : {true, false}) {
    data_parallel parallel{host, model, {.dynamic_batching = dynamic}};
    for (const std::int64_t rows : dynamic ? std::vector<std::int64_t>{1, 2, 7, 12} : std::vector<std::int64_t>{6})
      EXPECT(same(answer(parallel, nested(rows)), counted({rows, 3}) * 21));
  }
  // A dict's keys are found by name, in the order of the example.
  EXPECT(model.inputs()[4].name == "named[\"b\"]");
}

TEST_CASE("S21: scattered tensors of different sizes are shape_mismatch, and the two that differ are named") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::two_inputs(), {at::rand({2, 3}), at::rand({2, 3})})};
  for (const auto& [a, b] : {std::pair{8, 7}, std::pair{7, 8}, std::pair{0, 2}, std::pair{4, 1}}) {
    const auto f = failure_of([&] { parallel({at::ones({a, 3}), at::ones({b, 3})}); });
    NOTE(f.text);
    EXPECT(f.code == errc::shape_mismatch);
    EXPECT(contains(f.text, fmt::format("input x has {} rows along dim 0, but input y has {}", a, b)));
  }
  EXPECT(ears.executions().empty());
  // Nor may the sizes differ in the example.
  const auto module = modules::scripted("def forward(self, x, y):\n  return torch.matmul(x, y)\n");
  const auto f = failure_of([&] {
    data_parallel{host, compiled(module, {at::ones({2, 6}), at::ones({6, 3})})};
  });
  EXPECT(f.code == errc::shape_mismatch);
  EXPECT(contains(f.text, "inputs x and y were compiled as f32[2,6] and f32[6,3]"));
}

TEST_CASE("S21: numbers, strings, None and 0-dimensional tensors go to every chunk as they are") {
  engine_ears ears;
  engine host{ears.options(3)};
  const auto module = modules::scripted(R"(
def forward(self, x, mode: str, bias: Optional[Tensor], scale: float, shift: int, on: bool, weight, steps: List[int]):
  y = x * scale + shift + weight
  if mode == "double":
    y = y * 2
  if bias is not None:
    y = y + bias
  if on:
    y = -y
  for step in steps:
    y = y + step
  return y
)");
  const auto arguments = [](at::Tensor x, std::string mode, double scale, std::int64_t shift, bool on, double weight,
                            c10::List<std::int64_t> steps) -> std::vector<c10::IValue> {
    return {x, std::move(mode), c10::IValue{}, scale, shift, on, at::scalar_tensor(weight), std::move(steps)};
  };
  const auto model = compiled(module, arguments(at::rand({2, 3}), "double", 1.5, 2, true, 0.5, {1, 2}));
  data_parallel parallel{host, model};
  EXPECT(parallel.dynamic_batching());
  const auto x = counted({9, 3});
  EXPECT(same(answer(parallel, arguments(x, "double", 1.5, 2, true, 0.5, {1, 2})), -((x * 1.5 + 2.5) * 2) + 3));
  EXPECT(same(answer(parallel, arguments(x, "plain", 3, -4, false, 8, {5, 5, 5})), x * 3 + 4 + 15));
}

// -- S22 -------------------------------------------------------------------------------------------------------------

TEST_CASE("S22: every leaf is gathered in input order, and nested containers are kept") {
  engine_ears ears;
  engine host{ears.options(4)};
  const auto x = counted({24, 3});
  const auto module = modules::scripted(R"(
def forward(self, x):
  return {"pair": (x + 1, [x * 2, x * 3]), "rest": (x - 1, [x * 4])}
)");
  const auto model = compiled(module, {at::rand({2, 3})});
  for (const std::int64_t rows : {1, 5, 24}) {
    data_parallel parallel{host, model};
    const auto result = parallel({x.narrow(0, 0, rows)});
    EXPECT(same(result, source_answer(model, {x.narrow(0, 0, rows)})));
    std::vector<std::string> paths;
    for (const auto& leaf : leaves_of(result, "y")) paths.push_back(leaf.path);
    EXPECT((paths == std::vector<std::string>{"y[\"pair\"][0]", "y[\"pair\"][1][0]", "y[\"pair\"][1][1]",
                                              "y[\"rest\"][0]", "y[\"rest\"][1][0]"}));
  }
  for (int round = 0; round < 20; ++round) {
    data_parallel dict{host, compiled(modules::dict_outputs(), {at::rand({6, 3})}), {.dynamic_batching = false}};
    const auto result = dict({x}).toGenericDict();
    EXPECT(same(result.at("sum").toTensor(), x + 1));
    EXPECT(same(result.at("product").toTensor(), x * 2));
  }
}

TEST_CASE("S22: outputs are gathered along dim also where the model changes sizes along it") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto halved = modules::scripted("def forward(self, x):\n  return torch.narrow(x, 1, 0, x.size(1) // 2)\n");
  data_parallel parallel{host, compiled(halved, {at::ones({3, 4})}), {.dim = 1}};
  const auto x = counted({3, 8});
  EXPECT(same(answer(parallel, {x}), at::cat({x.narrow(1, 0, 2), x.narrow(1, 4, 2)}, 1)));

  // A size that depends on the values makes no trouble where chunks are concatenated.
  const auto found = compiled(modules::scripted("def forward(self, x):\n  return torch.nonzero(x > 0)\n"),
                              {at::ones({2, 3})});
  data_parallel ragged{host, found};
  EXPECT_FALSE(ragged.dynamic_batching());
  const auto y = at::tensor({1, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1}, at::kFloat).reshape({4, 3});
  EXPECT(same(answer(ragged, {y}), at::cat({at::nonzero(y.narrow(0, 0, 2)), at::nonzero(y.narrow(0, 2, 2))})));
}

TEST_CASE("S22: chunks whose dtype or trailing shape differ are gather_mismatch, never a cast or a broadcast") {
  engine_ears ears;
  engine host{ears.options(2)};
  const std::vector<std::pair<std::string, std::string>> table{{"x.double()", "f64"},
                                                               {"torch.narrow(x, 1, 0, 1)", "f32[5,1]"},
                                                               {"torch.sum(x, 1)", "f32[5]"},
                                                               {"torch.unsqueeze(x, 2)", "f32[5,3,1]"}};
  for (const auto& [otherwise, said] : table) {
    const auto model = compiled(surprising(otherwise), {at::rand({5, 3})});
    for (const bool dynamic : {true, false}) {
      data_parallel parallel{host, model, {.dynamic_batching = dynamic}};
      const auto f = failure_of([&] { parallel({with_a_surprise()}); });
      NOTE(otherwise << ", dynamic batching " << dynamic << ": " << f.text);
      EXPECT(f.code == errc::gather_mismatch);
      EXPECT(contains(f.text, said));
      EXPECT(contains(f.text, "f32[5,3]"));
      EXPECT(same(answer(parallel, {at::ones({10, 3})}), at::ones({10, 3}) + 1));  // the next request is as ever
    }
  }
}

TEST_CASE("S22: None in one chunk and a tensor in another are gather_mismatch, never rows that nobody wrote") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto model = compiled(modules::scripted(R"(
def forward(self, x) -> Optional[Tensor]:
  y: Optional[Tensor] = x + 1
  if bool(torch.any(x > 100)):
    y = None
  return y
)"),
                              {at::rand({5, 3})});
  for (const bool dynamic : {true, false}) {
    data_parallel parallel{host, model, {.dynamic_batching = dynamic}};
    EXPECT(failure_of([&] { parallel({with_a_surprise()}); }).code == errc::gather_mismatch);
    EXPECT(failure_of([&] { parallel({with_a_surprise().flip(0)}); }).code == errc::gather_mismatch);
    EXPECT(same(answer(parallel, {at::ones({10, 3})}), at::ones({10, 3}) + 1));
  }
}

TEST_CASE("S22: an execution that returns another number of rows than it was given is gather_mismatch") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(surprising("torch.narrow(x, 0, 0, 1)"), {at::rand({5, 3})})};
  REQUIRE(parallel.dynamic_batching());
  const auto f = failure_of([&] { parallel({with_a_surprise()}); });
  NOTE(f.text);
  EXPECT(f.code == errc::gather_mismatch);
}

TEST_CASE("S22: 0-dimensional outputs become a vector with one element a chunk, with a warning") {
  engine_ears ears;
  engine host{ears.options(4)};
  data_parallel parallel{host, compiled(modules::total(), {at::rand({2, 3})})};
  for (int i = 0; i < 2; ++i) {
    const auto x = counted({8, 3});
    EXPECT(same(answer(parallel, {x}), x.reshape({4, 6}).sum(1)));
  }
  EXPECT(count_of(parallel.warnings(), "0-dimensional") == 1);
  EXPECT(count_of(ears.sentences(), "0-dimensional") == 1);
}

TEST_CASE("S22: leaves that are no tensors must be equal in all chunks") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel constant{host, compiled(modules::with_plain_outputs(), {at::rand({2, 3})})};
  const auto result = constant({counted({7, 3})}).toTupleRef().elements();
  EXPECT(same(result[0].toTensor(), counted({7, 3}) + 1));
  EXPECT(result[1].toInt() == 7);
  EXPECT(result[2].toStringRef() == "seven");

  const auto model = compiled(modules::scripted("def forward(self, x):\n  return (x + 1, int(torch.max(x).item()))\n"),
                              {at::rand({2, 3})});
  for (const bool dynamic : {true, false}) {
    data_parallel parallel{host, model, {.dynamic_batching = dynamic}};
    EXPECT(parallel({at::full({4, 3}, 5.f)}).toTupleRef().elements()[1].toInt() == 5);
    const auto f = failure_of([&] { parallel({counted({4, 3})}); });
    NOTE(f.text);
    EXPECT(f.code == errc::gather_mismatch);
    EXPECT(contains(f.text, "output[1] is "));
    EXPECT(contains(f.text, "5"));
    EXPECT(contains(f.text, "11"));
  }
}

TEST_CASE("S22: chunks whose containers differ are gather_mismatch") {
  engine_ears ears;
  engine host{ears.options(2)};
  const auto model = compiled(modules::scripted(R"(
def forward(self, x):
  result = [x + 1]
  if bool(torch.any(x > 100)):
    result.append(x)
  return result
)"),
                              {at::rand({5, 3})});
  for (const bool dynamic : {true, false}) {
    data_parallel parallel{host, model, {.dynamic_batching = dynamic}};
    const auto f = failure_of([&] { parallel({with_a_surprise()}); });
    NOTE(f.text);
    EXPECT(f.code == errc::gather_mismatch);
    EXPECT(parallel({at::ones({10, 3})}).isList());
  }
}

// -- S23 -------------------------------------------------------------------------------------------------------------

TEST_CASE("S23: a dtype or size that is not the compiled one is shape_mismatch, with the input and both specs") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::plus_one(), {at::ones({2, 3, 4})})};
  const std::vector<std::pair<at::Tensor, std::string>> table{
      {at::ones({2, 3, 4}, at::kDouble), "f64[2,3,4]"}, {at::ones({2, 3, 4}, at::kHalf), "f16[2,3,4]"},
      {at::ones({2, 3, 4}, at::kLong), "i64[2,3,4]"},   {at::ones({2, 3, 4}, at::kBool), "bool[2,3,4]"},
      {at::ones({2, 3, 5}), "f32[2,3,5]"},              {at::ones({2, 4, 3}), "f32[2,4,3]"},
      {at::ones({2, 3}), "f32[2,3]"},                   {at::ones({2, 3, 4, 1}), "f32[2,3,4,1]"},
      {at::ones({}), "f32[]"},                          {at::ones({0}), "f32[0]"},
      {at::ones({2, 0, 4}), "f32[2,0,4]"},              {at::ones({1, 2, 3, 4}), "f32[1,2,3,4]"}};
  for (const auto& [x, given] : table) {
    const auto f = failure_of([&] { parallel({x}); });
    NOTE(f.text);
    EXPECT(f.code == errc::shape_mismatch);
    EXPECT(contains(f.text, fmt::format("input x is {}, but the model was compiled for f32[2,3,4]", given)));
    EXPECT(failure_of_future(parallel.submit({x})) == f);  // the future holds the same sentence
  }
  EXPECT(ears.executions().empty());
}

TEST_CASE("S23: along another dim, dim 0 is one of the fixed sizes") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::plus_one(), {at::ones({2, 3})}), {.dim = 1}};
  const auto f = failure_of([&] { parallel({at::ones({3, 6})}); });
  EXPECT(f.code == errc::shape_mismatch);
  EXPECT(contains(f.text, "input x is f32[3,6], but the model was compiled for f32[2,3]: only dim 1 may differ"));
}

TEST_CASE("S23: values of the wrong kind, number or structure are shape_mismatch") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel one{host, compiled(modules::plus_one(), {at::ones({2, 3})})};
  const std::vector<std::vector<c10::IValue>> bad_for_one{
      {},
      {at::ones({2, 3}), at::ones({2, 3})},
      {3},
      {c10::IValue{}},
      {std::string{"x"}},
      {pair_of(at::ones({2, 3}), at::ones({2, 3}))},
      {c10::List<at::Tensor>({at::ones({2, 3})})},
      {at::Tensor{}},
      {at::ones({2, 3}).to_sparse()},
      {at::quantize_per_tensor(at::ones({2, 3}), 0.1, 0, at::kQInt8)},
      {at::empty({2, 3}, at::TensorOptions{at::kMeta})}};
  for (const auto& inputs : bad_for_one) {
    const auto f = failure_of([&] { one(inputs); });
    NOTE(f.text);
    EXPECT(f.code == errc::shape_mismatch);
    EXPECT_FALSE(f.text.empty());
  }
  data_parallel many{host, compiled(modules::nested_inputs(), nested(2))};
  const auto x = at::ones({2, 3});
  auto good = nested(2);
  const std::vector<std::pair<std::size_t, c10::IValue>> bad_for_many{
      {0, c10::ivalue::Tuple::create(x)},
      {0, c10::ivalue::Tuple::create(x, x, x)},
      {0, c10::List<at::Tensor>({x, x})},
      {1, c10::List<at::Tensor>({x})},
      {1, pair_of(x, x)},
      {1, x},
      {2, dict_of({{"b", x}})},
      {2, dict_of({{"b", x}, {"c", x}})},
      {2, dict_of({{"b", x}, {"a", x}, {"c", x}})},
      {2, dict_of({{"b", x}, {"a", at::ones({2, 4})}})}};
  for (const auto& [index, value] : bad_for_many) {
    auto inputs = good;
    inputs[index] = value;
    const auto f = failure_of([&] { many(inputs); });
    NOTE(f.text);
    EXPECT(f.code == errc::shape_mismatch);
    EXPECT(contains(f.text, std::vector<std::string>{"pair", "more", "named"}[index]));
  }
  EXPECT(same(answer(many, good), counted({2, 3}) * 21));
}

TEST_CASE("values beside the rows that cannot be compared keep a request apart, and nothing else") {
  engine_ears ears;
  engine host{ears.options(1)};
  const auto with_value = test_modules::scripted("def forward(self, x, value):\n  return x + 1\n");
  const auto value = at::zeros({}, at::kComplexHalf);
  data_parallel parallel{host, compiled(with_value, {at::ones({4, 3}), value})};
  std::vector<std::future<c10::IValue>> answers;
  for (std::int64_t rows = 1; rows < 9; ++rows) answers.push_back(parallel.submit({counted({rows, 3}), value}));
  for (std::int64_t rows = 1; rows < 9; ++rows) {
    auto& f = answers[static_cast<std::size_t>(rows - 1)];
    REQUIRE(ready(f));
    EXPECT(same(f.get().toTensor(), counted({rows, 3}) + 1));
  }
}

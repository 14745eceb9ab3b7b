#include <ganglion/model_io/model.hpp>
#include <ganglion/model_io/replica.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>
#include <support/modules.hpp>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

using namespace ganglion;
namespace modules = test_modules;

namespace {

compiled_model traced(const torch::jit::Module& module, std::vector<c10::IValue> example,
                      trace_options options = {}) {
  return trace(module, std::move(example), options);
}

failure refusal(const torch::jit::Module& module, std::vector<c10::IValue> example) {
  return failure_of([&] { trace(module, std::move(example)); });
}

bool close(const c10::IValue& a, const c10::IValue& b, double tolerance = 1e-4) {
  return at::allclose(a.toTensor(), b.toTensor(), tolerance, tolerance);
}

}  // namespace

TEST_CASE("weights without values of their own are refused by their names") {
  const auto refused_with = [&](const at::Tensor& shift) {
    torch::jit::Module module{"Net"};
    module.register_buffer("shift", shift);
    module.define("def forward(self, x):\n  return x + self.shift\n");
    return refusal(module, {at::rand({2, 3})});
  };
  const auto meta = refused_with(at::empty({3}, at::TensorOptions().device(at::kMeta)));
  EXPECT(meta.code == errc::unsupported_model);
  EXPECT(contains(meta.text, "shift is on the device meta"));
  const auto sparse = refused_with(at::eye(3).to_sparse());
  EXPECT(sparse.code == errc::unsupported_model);
  EXPECT(contains(sparse.text, "shift has the layout Sparse: make it dense first"));
}

TEST_CASE("S18: a traced model knows the example's names, dtypes and sizes") {
  const auto model = traced(modules::two_inputs(), {at::rand({2, 3}), at::rand({2, 3})});
  EXPECT((model.inputs() == std::vector<tensor_spec>{{at::kFloat, {2, 3}, "x"}, {at::kFloat, {2, 3}, "y"}}));
  EXPECT((model.outputs() == std::vector<tensor_spec>{{at::kFloat, {2, 3}, "output"}}));
  EXPECT(model.signature().eligible());
  EXPECT(model.warnings().empty());
  EXPECT(model.content_hash().size() == 32);
  EXPECT(contains(model.measurements(), "\"frozen\""));
}

TEST_CASE("S18: nested inputs and outputs keep their structure") {
  c10::Dict<std::string, at::Tensor> named;
  named.insert("a", at::rand({2, 3}));
  const auto model =
      traced(modules::nested_inputs(), {c10::ivalue::Tuple::create(at::rand({2, 3}), at::rand({2, 3})),
                                        c10::List<at::Tensor>({at::rand({2, 3})}), named});
  REQUIRE(model.inputs().size() == 4);
  EXPECT(model.inputs()[1].name == "pair[1]");
  EXPECT(model.inputs()[2].name == "more[0]");
  EXPECT(model.inputs()[3].name == "named[\"a\"]");
  EXPECT(model.signature().eligible());

  const auto nested = traced(modules::nested_outputs(), {at::rand({2, 3})});
  REQUIRE(nested.outputs().size() == 3);
  EXPECT(nested.outputs()[2].name == "output[1][1]");
  EXPECT(describe(nested.signature().result) == "tuple of 2");
  EXPECT(traced(modules::dict_outputs(), {at::rand({2, 3})}).outputs()[1].name == "output[\"product\"]");
}

TEST_CASE("S10: a model whose rows are independent is eligible at every compiled size") {
  for (std::int64_t batch : {1, 2, 5, 17}) {
    EXPECT(traced(modules::linear(), {at::rand({batch, 4})}).signature().eligible());
    EXPECT(traced(modules::conv_plus_one(), {at::rand({batch, 3, 8, 8})}).signature().eligible());
  }
  EXPECT(traced(modules::with_plain_outputs(), {at::rand({4, 3})}).signature().eligible());
}

TEST_CASE("S10: a model that mixes rows is found out, not refused") {
  const auto mixed = traced(modules::minus_batch_mean(), {at::rand({4, 3})}).signature().not_eligible;
  EXPECT(contains(mixed, "the output depends on its neighbours' rows (row 0 of 4 changed by "));
  const auto placed = traced(modules::plus_row_number(), {at::rand({4, 3})}).signature().not_eligible;
  EXPECT(contains(placed, "depends on the place of a row in the batch"));
  EXPECT(traced(modules::minus_batch_mean(), {at::rand({1, 3})}).signature().eligible());
  const auto tiny =
      modules::scripted("def forward(self, x):\n  return (x - torch.mean(x, [0], True)) * 1e-12\n");
  EXPECT_FALSE(traced(tiny, {at::rand({4, 3})}).signature().eligible());
}

TEST_CASE("S10: a model that mixes rows by what most rows do not change is found out too") {
  const auto depends = [](const char* result, at::Tensor example) {
    const auto module = modules::scripted(std::string("def forward(self, x):\n  return ") + result + "\n");
    return contains(trace(module, {std::move(example)}, {.tune = false}).signature().not_eligible,
                    "depends on its neighbours' rows");
  };
  const auto integers = at::randint(0, 10, {4, 3}), flags = at::randint(0, 2, {4, 3}).to(at::kBool);
  EXPECT(depends("x + torch.amax(x)", integers));
  EXPECT(depends("x - torch.amin(x)", integers));
  EXPECT(depends("torch.sum(torch.all(torch.unsqueeze(x, 0) == torch.unsqueeze(x, 1), 2), 1)", integers));
  EXPECT(depends("torch.logical_or(x, torch.any(x))", flags));
  EXPECT(depends("torch.logical_and(x, torch.all(x))", flags));
  EXPECT(depends("torch.relu(x - 10 * torch.mean(x))", at::rand({4, 3})));
  EXPECT(depends("x + torch.relu(torch.sum(x) - 100)", at::rand({4, 3})));
  EXPECT(depends("x + torch.any(torch.isnan(x)).float()", at::rand({4, 3})));
  EXPECT_FALSE(depends("x + torch.amax(x, [1], True)", integers));
  EXPECT_FALSE(depends("torch.logical_or(x, torch.any(x, 1, True))", flags));
  EXPECT_FALSE(depends("torch.softmax(torch.relu(x) * 3, 1)", at::rand({4, 3})));
  // Far values are none of a model that takes its floats for indices: it is judged without them.
  EXPECT_FALSE(depends("torch.index_select(torch.arange(510), 0, torch.flatten(x).long() + 500)",
                       at::rand({4, 1})));
}

TEST_CASE("S10: a model whose rows depend on how many run together is found out, where it takes another number of them") {
  const auto reason = [](const char* result, std::int64_t batch) {
    const auto module = modules::scripted(std::string("def forward(self, x):\n  return ") + result + "\n");
    return trace(module, {at::rand({batch, 3})}, {.tune = false}).signature().not_eligible;
  };
  for (const std::int64_t batch : {2, 16}) {
    EXPECT(contains(reason("x / x.size(0)", batch), "the output depends on how many rows run together"));
    EXPECT(contains(reason("x + torch.numel(x)", batch), "depends on how many rows run together"));
    EXPECT(reason("x / x.size(1)", batch).empty());
  }
  EXPECT(reason("torch.reshape(x, [4, 3]) * 2", 4).empty());  // takes no other number
}

TEST_CASE("S10: where the example's values cannot tell rows apart, a model is not eligible") {
  const auto mixes = modules::scripted("def forward(self, x):\n  return x + torch.sum(x, [0], True)\n");
  const auto reason = [](const torch::jit::Module& module, std::vector<c10::IValue> example) {
    return trace(module, std::move(example), {.tune = false}).signature().not_eligible;
  };
  EXPECT(reason(mixes, {at::zeros({4, 3}, at::kLong)}) ==
         "its rows cannot be told apart, since its example has only 0 in x: trace it with distinct values");
  EXPECT(contains(reason(modules::plus_one(), {at::full({2, 3}, 7, at::kInt)}), "only 7 in x"));
  EXPECT(contains(reason(modules::two_inputs(), {at::zeros({2}, at::kLong), at::ones({2}, at::kLong)}),
                  "only 0 in x and only 1 in y: "));
  // Made rows are told apart however few the values are, and beside others a mask may be constant.
  for (const auto dtype : {at::kLong, at::kBool})
    EXPECT(contains(reason(mixes, {at::tensor({0, 1}).to(dtype)}), "depends on its neighbours' rows"));
  EXPECT(reason(modules::plus_one(), {at::tensor({0, 1})}).empty());
  EXPECT(reason(modules::two_inputs(), {at::rand({2, 3}), at::ones({2, 3}, at::kLong)}).empty());
  EXPECT(reason(modules::plus_one(), {at::zeros({1, 3}, at::kLong)}).empty());
}

TEST_CASE("S10: sizes that disagree make a model not eligible") {
  const auto reason = [](const torch::jit::Module& module, std::vector<c10::IValue> example) {
    return trace(module, std::move(example)).signature().not_eligible;
  };
  EXPECT(reason(modules::total(), {at::rand({2, 3})}) == "the output has no dimension");
  EXPECT(reason(modules::two_inputs(), {at::rand({2, 3}), at::rand({1, 3})}) ==
         "the inputs x and y have the sizes 2 and 1 at dim 0");
  EXPECT(reason(modules::scripted("def forward(self, x):\n  return torch.cat([x, x])\n"),
                {at::rand({2, 3})}) == "the output has the size 4 at dim 0, but the inputs have 2");
  EXPECT(reason(modules::plus_one(), {at::rand({})}) == "no input has a dimension");
  EXPECT(reason(modules::two_inputs(), {at::rand({2, 3}), at::rand({})}).empty());
}

TEST_CASE(
    "S10: the probe keeps integers within the example's range, and a model that fails on its rows is told "
    "so") {
  auto embedding = torch::jit::Module{"Net"};
  embedding.register_parameter("table", at::rand({5, 3}), false);
  embedding.define("def forward(self, x):\n  return torch.embedding(self.table, x)\n");
  EXPECT(traced(embedding, {at::arange(5)}).signature().eligible());
  const auto strict =
      modules::scripted("def forward(self, x):\n  assert bool(torch.all(x == 1)), 'only ones'\n  return x\n");
  EXPECT(traced(strict, {at::ones({3})}).signature().not_eligible ==
         "the model failed on rows that were made to probe it: AssertionError: only ones");
}

TEST_CASE("S18: a module in training mode is traced in eval mode, with a warning, and stays as it was") {
  auto module = modules::batch_norm();
  module.train();
  const auto model = traced(module, {at::rand({2, 3, 4, 4})});
  EXPECT(model.warnings() ==
         std::vector<std::string>{"the module was in training mode; it was traced in eval mode"});
  EXPECT(module.is_training());
  EXPECT(module.attr("batches").toTensor().item<std::int64_t>() == 0);
  EXPECT(traced(modules::batch_norm(), {at::rand({2, 3, 4, 4})}).warnings().empty());
}

TEST_CASE("S18: training wired into the graph is refused by the operator's name") {
  const auto dropout = refusal(modules::wired_dropout(), {at::rand({2, 3})});
  EXPECT(dropout.code == errc::unsupported_model);
  EXPECT(contains(dropout.text, "aten::dropout is called with training on"));
  const auto norm = refusal(modules::wired_batch_norm(), {at::rand({2, 3, 4, 4})});
  EXPECT(norm.code == errc::unsupported_model);
  const auto harmless =
      modules::scripted("def forward(self, x):\n  return torch.dropout(x, 0.0, True) + 1\n");
  EXPECT(refusal(harmless, {at::rand({2, 3})}).code == errc::ok);
}

TEST_CASE("S18: a module that changes its own attributes is refused by the attribute's name") {
  const auto count = refusal(modules::counts_calls(), {at::rand({2, 3})});
  EXPECT(count.code == errc::unsupported_model);
  EXPECT(contains(count.text, "changes its own attribute calls"));
  const auto buffer = refusal(modules::changes_buffer(), {at::rand({2, 3})});
  EXPECT(buffer.code == errc::unsupported_model);
  EXPECT(contains(buffer.text, "changes its own attribute total"));
  auto list = torch::jit::Module{"Net"};
  list.register_attribute("seen", c10::ListType::ofTensors(), c10::List<at::Tensor>({at::zeros({1})}));
  list.define("def forward(self, x):\n  self.seen[0].add_(1)\n  return x + self.seen[0]\n");
  EXPECT(contains(refusal(list, {at::rand({2})}).text, "changes its own attribute seen[0]"));
  auto growing = torch::jit::Module{"Net"};
  growing.register_attribute("seen", c10::ListType::ofTensors(), c10::List<at::Tensor>({at::zeros({1})}));
  growing.define("def forward(self, x):\n  self.seen.append(x)\n  return x + 1\n");
  EXPECT(refusal(growing, {at::rand({2})}).code == errc::unsupported_model);
}

TEST_CASE("a module that writes to its input is noticed") {
  EXPECT(traced(modules::writes_input(), {at::rand({2, 3})}).signature().writes_inputs);
  EXPECT_FALSE(traced(modules::plus_one(), {at::rand({2, 3})}).signature().writes_inputs);
  const auto inside = modules::scripted("def forward(self, xs: List[Tensor]):\n  return xs[0].add_(1)\n");
  EXPECT(traced(inside, {c10::List<at::Tensor>({at::rand({2})})}).signature().writes_inputs);
  const auto example = at::zeros({2, 3});
  traced(modules::writes_input(), {example});
  EXPECT(example.equal(at::zeros({2, 3})));
}

TEST_CASE("a model without tensor outputs is refused") {
  const auto none = refusal(modules::no_tensor_output(), {at::rand({2, 3})});
  EXPECT(none.code == errc::unsupported_model);
  EXPECT(none.text == "the model returns no tensor (it returns int)");
}

TEST_CASE("an example that does not fit is refused before anything runs") {
  const auto missing = refusal(modules::two_inputs(), {at::rand({2})});
  EXPECT(missing.code == errc::shape_mismatch);
  EXPECT(missing.text == "the example has 1 argument, but forward(x, y) takes 2");
  EXPECT(refusal(modules::with_numbers(), {at::rand({2}), 1.0, 1, 1}).text ==
         "the example has 4 arguments, but forward(x, scale, shift) takes 2 to 3");
  EXPECT(refusal(modules::with_numbers(), {at::rand({2}), "text"}).code == errc::shape_mismatch);
  EXPECT(refusal(modules::no_tensor_output(), {1}).code == errc::invalid_argument);
  EXPECT(refusal(modules::plus_one(), {at::rand({0, 3})}).text ==
         "the example of x is f32[0,3]: none of its dimensions may be empty");
  EXPECT(refusal(modules::plus_one(), {at::rand({2, 3}).to_sparse()}).code == errc::invalid_argument);
  EXPECT(refusal(modules::plus_one(), {at::empty({2, 3}, at::device(at::kMeta))}).code == errc::invalid_argument);
  EXPECT(refusal(modules::plus_one(), {at::Tensor{}}).code == errc::invalid_argument);
  EXPECT(refusal(torch::jit::Module{"Net"}, {at::rand({2})}).code == errc::unsupported_model);
}

TEST_CASE("a module that fails on its example is refused with its own message, not a stack of symbols") {
  const auto failed = refusal(modules::fails(), {at::rand({2, 3})});
  EXPECT(failed.code == errc::forward_failed);
  EXPECT(failed.text == "the module fails on the example: AssertionError: it never works");
  const auto shapes = refusal(modules::linear(), {at::rand({2, 3})});
  EXPECT(shapes.code == errc::forward_failed);
  EXPECT(contains(shapes.text, "mat1 and mat2 shapes cannot be multiplied"));
  EXPECT_FALSE(contains(shapes.text, "\n"));
}

TEST_CASE("arguments with defaults may be left out, and numbers reach the model") {
  const auto model = traced(modules::with_numbers(), {at::ones({2}), 3.0});
  auto replica = model.make_replica();
  EXPECT(close(replica.run({at::ones({2}), 5.0}), at::full({2}, 6.)));
  auto full = traced(modules::with_numbers(), {at::ones({2}), 3.0, 2}).make_replica();
  EXPECT(close(full.run({at::ones({2}), 5.0, 4}), at::full({2}, 9.)));
}

TEST_CASE("S18: an optimized program that is wrong is not used") {
  const auto model = traced(modules::gated_conv(), {at::rand({4, 3, 12, 12})});
  EXPECT(model.recipe() != "optimized");
  EXPECT(contains(model.measurements(), "\"optimized\":{\"rejected\":\"deviation "));
  EXPECT(model.signature().eligible());
  auto replica = model.make_replica();
  for (int i = 0; i < 5; ++i) {
    const auto x = at::randn({4, 3, 12, 12}) * 3;
    EXPECT(close(replica.run({x}), modules::gated_conv().forward({x})));
  }
}

TEST_CASE("a model whose answers are random runs as it is, with a warning") {
  const auto model = traced(modules::random(), {at::rand({2, 3})});
  EXPECT(model.recipe() == "as_is");
  REQUIRE(model.warnings().size() == 1);
  EXPECT(contains(model.warnings()[0], "the module runs as it is"));
  EXPECT_FALSE(model.signature().eligible());
}

TEST_CASE("without tuning the frozen module is the program") {
  EXPECT(traced(modules::linear(), {at::rand({2, 4})}, {.tune = false}).recipe() == "frozen");
}

TEST_CASE("bf16 computes inside, and inputs and outputs stay as the example's") {
  const auto model =
      traced(modules::conv_plus_one(), {at::rand({2, 3, 8, 8})}, {.auto_cast = auto_cast::bf16});
  EXPECT(contains(model.recipe(), "+bf16"));
  auto replica = model.make_replica();
  const auto x = at::rand({2, 3, 8, 8});
  const auto answer = replica.run({x}).toTensor();
  EXPECT((answer.scalar_type() == at::kFloat));
  EXPECT(close(answer, modules::conv_plus_one().forward({x}), 0.05));
  EXPECT_FALSE(answer.equal(modules::conv_plus_one().forward({x}).toTensor()));
  EXPECT((model.source().attr("weight").toTensor().scalar_type() == at::kFloat));
}

TEST_CASE("a model that bf16 is too coarse for is refused with the figures") {
  const auto cancels = modules::scripted("def forward(self, x):\n  return (x + 1000) - 1000\n");
  const auto refused = failure_of([&] {
    trace(cancels, {at::rand({2, 3})}, {.auto_cast = auto_cast::bf16});
  });
  EXPECT(refused.code == errc::unsupported_model);
  EXPECT(contains(refused.text, "the model cannot run in bf16"));
  EXPECT(contains(refused.text, "at most 0.05 is allowed"));
}

TEST_CASE("tracing works on a copy and leaves threads and modes alone") {
  auto module = modules::linear();
  const auto threads = at::get_num_threads();
  const c10::InferenceMode guard;
  const auto model = traced(module, {at::rand({2, 4})});
  EXPECT(at::get_num_threads() == threads);
  EXPECT(c10::InferenceMode::is_enabled());
  EXPECT(model.source().attr("weight").toTensor().data_ptr() != module.attr("weight").toTensor().data_ptr());
  EXPECT_FALSE(model.source().attr("weight").toTensor().is_inference());
  EXPECT_FALSE(module.hasattr("ganglion_signature"));
}

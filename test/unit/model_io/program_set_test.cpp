#include <ganglion/model_io/program_set.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>
#include <support/modules.hpp>

#include <ATen/ATen.h>

using namespace ganglion;
namespace modules = test_modules;

namespace {

using examples = std::vector<std::vector<c10::IValue>>;

compiled_model traced(const torch::jit::Module& module, examples all) {
  auto first = all.front();
  all.erase(all.begin());
  return trace(module, first, {.tune = false, .more_examples = std::move(all)});
}

/// x * mask + 1, row by row, and the sum of what was not masked.
torch::jit::Module masked() {
  return modules::scripted(
      "def forward(self, x, mask):\n"
      "  y = x * mask.unsqueeze(2)\n"
      "  return y + 1, y.sum([1, 2])\n");
}

std::vector<c10::IValue> masked_example(std::int64_t rows, std::int64_t length) {
  return {at::rand({rows, length, 3}), at::ones({rows, length}, at::kLong)};
}

const compiled_model& masked_model() {
  static const auto model =
      traced(masked(), {masked_example(2, 8), masked_example(4, 4), masked_example(1, 4), masked_example(2, 16)});
  return model;
}

const compiled_model& plus_one_model() {
  static const auto model =
      traced(modules::plus_one(), {{at::rand({8, 3})}, {at::rand({1, 3})}, {at::rand({32, 3})}});
  return model;
}

}  // namespace

TEST_CASE("program set: batch sizes are one bucket, in ascending order, with the program of each") {
  const auto set = make_program_set(plus_one_model(), 0).value();
  REQUIRE(set.buckets.size() == 1);
  const auto& b = set.buckets.front();
  EXPECT(b.sizes == std::vector<std::int64_t>{1, 8, 32});
  EXPECT(b.programs == std::vector<std::size_t>{1, 0, 2});
  EXPECT(b.program_of(8) == 0);
  EXPECT(b.program_of(32) == 2);
  EXPECT(b.rule.compiled_size == 32);
  EXPECT(set.varying.empty());
  const auto matched = match_inputs(plus_one_model(), set, {at::rand({100, 3})}).value();
  EXPECT(matched.rows == 100);
  EXPECT(matched.bucket == 0);
}

TEST_CASE("program set: along another dimension the same programs are three buckets") {
  const auto set = make_program_set(plus_one_model(), 1).value();
  EXPECT(set.buckets.size() == 3);
  EXPECT_FALSE(set.rule().is_batch_dim);
  EXPECT(match_inputs(plus_one_model(), set, {at::rand({32, 6})}).value().bucket == 2);
  EXPECT(match_inputs(plus_one_model(), set, {at::rand({2, 6})}).error().code == errc::shape_mismatch);
}

TEST_CASE("program set: other sizes are buckets, and a request goes to the one that it fits exactly") {
  const auto set = make_program_set(masked_model(), 0).value();
  REQUIRE(set.buckets.size() == 3);
  EXPECT(set.buckets[0].sizes == std::vector<std::int64_t>{2});
  EXPECT(set.buckets[1].sizes == std::vector<std::int64_t>{1, 4});
  EXPECT(set.buckets[1].lengths == std::vector<std::int64_t>{4, 4});
  EXPECT(set.varying.size() == 2);
  EXPECT(set.varying[1].same_as == 0);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::int64_t length = std::array{8, 4, 16}[i];
    const auto matched = match_inputs(masked_model(), set, masked_example(5, length)).value();
    EXPECT(matched.bucket == i);
    EXPECT_FALSE(matched.padded);
    EXPECT(matched.trims.empty());
  }
}

TEST_CASE("program set: without pad values a request that fits no bucket is refused with the sizes") {
  const auto set = make_program_set(masked_model(), 0).value();
  const auto f = match_inputs(masked_model(), set, masked_example(5, 6)).error();
  EXPECT(f.code == errc::shape_mismatch);
  EXPECT(
      f.text ==
      "the request has 6 x 6 along dim 1 of input x, dim 1 of input mask, but the model was compiled for 8 x 8, 4 x 4, "
      "16 x 16: send one of these, or set pad_values to have shorter ones padded");
}

TEST_CASE("program set: with pad values a request goes to the smallest bucket that holds it, and is trimmed") {
  const auto set = make_program_set(masked_model(), 0, {0}).value();
  EXPECT(set.pad_values == std::vector<double>{0, 0});
  REQUIRE(set.trimmed.size() == 1);
  for (std::int64_t length = 0; length <= 16; ++length) {
    const auto matched = match_inputs(masked_model(), set, masked_example(3, length)).value();
    const auto bucket = length <= 4 ? 4 : length <= 8 ? 8 : 16;
    EXPECT(set.buckets[matched.bucket].lengths.front() == bucket);
    EXPECT(matched.padded == (length != bucket));
    const auto specs = answer_specs(masked_model(), set, matched);
    EXPECT(specs[0].shape == std::vector<std::int64_t>{3, length, 3});
    EXPECT(specs[1].shape == std::vector<std::int64_t>{3});
  }
  const auto f = match_inputs(masked_model(), set, masked_example(3, 17)).error();
  EXPECT(f.code == errc::shape_mismatch);
  EXPECT(contains(f.text, "17 x 17"));
  EXPECT(contains(f.text, "send no more than the largest"));
}

TEST_CASE("program set: sizes that are equal in every program must be equal in a request that is padded") {
  const auto set = make_program_set(masked_model(), 0, {0}).value();
  const auto f = match_inputs(masked_model(), set, {at::rand({3, 5, 3}), at::ones({3, 6}, at::kLong)}).error();
  EXPECT(f.code == errc::shape_mismatch);
  EXPECT(f.text ==
         "dim 1 of input x is 5, but dim 1 of input mask is 6: they are equal in every program, so give equal ones");
}

TEST_CASE("program set: what does not vary is checked as ever") {
  const auto set = make_program_set(masked_model(), 0, {0}).value();
  EXPECT(contains(match_inputs(masked_model(), set, {at::rand({3, 5, 2}), at::ones({3, 5}, at::kLong)}).error().text,
                  "input x is f32[3,5,2]"));
  EXPECT(contains(match_inputs(masked_model(), set, {at::rand({3, 5, 3}), at::ones({2, 5}, at::kLong)}).error().text,
                  "3 rows"));
}

TEST_CASE("program set: pad values that cannot be used are refused, one sentence each") {
  const auto refusal = [](const compiled_model& model, std::int64_t dim, std::vector<double> values) {
    const auto made = make_program_set(model, dim, std::move(values));
    REQUIRE_FALSE(made.has_value());
    EXPECT(made.error().code == errc::invalid_argument);
    return made.error().text;
  };
  EXPECT(contains(refusal(masked_model(), 0, {0, 0, 0}), "3 pad_values are given, but the model has 2 tensor inputs"));
  EXPECT(
      contains(refusal(masked_model(), 0, {0, 0.5}), "the pad value 0.5 of input mask is no value of its dtype i64"));
  const auto wide = traced(modules::plus_one(), {{at::rand({2, 4, 8})}, {at::rand({2, 4, 6})}});
  EXPECT(contains(refusal(wide, 1, {0}), "dim is 1"));
  EXPECT(contains(refusal(plus_one_model(), 0, {0}), "all programs of the model take the same sizes"));
  const auto halves = traced(modules::scripted("def forward(self, x):\n  return x[:, ::2]\n"),
                             {{at::rand({2, 8})}, {at::rand({2, 4})}});
  EXPECT(contains(refusal(halves, 0, {0}), "dim 1 of output"));
  EXPECT(make_program_set(halves, 0).has_value());
}

TEST_CASE("trace: examples differ in sizes, and in nothing else") {
  const auto refusal = [](const torch::jit::Module& module, examples all) {
    return failure_of([&] { traced(module, std::move(all)); });
  };
  const auto twice = refusal(modules::plus_one(), {{at::rand({2, 3})}, {at::rand({4, 3})}, {at::rand({2, 3})}});
  EXPECT(twice.code == errc::invalid_argument);
  EXPECT(twice.text == "two examples have the same sizes (f32[2,3]): give each once");
  const auto types = refusal(modules::plus_one(), {{at::rand({2, 3})}, {at::ones({4, 3}, at::kDouble)}});
  EXPECT(types.code == errc::invalid_argument);
  EXPECT(contains(types.text, "examples may differ in sizes only"));
  EXPECT(refusal(modules::plus_one(), {{at::rand({2, 3})}, {at::rand({2, 3, 1})}}).code == errc::invalid_argument);
  EXPECT(refusal(modules::with_numbers(), {{at::rand({2, 3}), 2.0}, {at::rand({4, 3}), 2.0, 1}}).code ==
         errc::invalid_argument);
}

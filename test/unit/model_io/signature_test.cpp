#include <ganglion/model_io/signature.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>

#include <ATen/ATen.h>

#include <random>

using namespace ganglion;

namespace {

using shapes = std::vector<std::vector<std::int64_t>>;

signature tensors(const shapes& inputs, const shapes& outputs) {
  signature sig;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    sig.argument_names.push_back(std::string(1, static_cast<char>('x' + i)));
    sig.example.emplace_back(at::zeros(inputs[i]));
    sig.inputs.push_back({at::kFloat, inputs[i], sig.argument_names.back()});
  }
  for (const auto& shape : outputs) sig.outputs.push_back({at::kFloat, shape, "output"});
  return sig;
}

failure check(const signature& sig, std::int64_t dim, const std::vector<c10::IValue>& inputs) {
  const auto checked = check_inputs(sig, make_scatter_rule(sig, dim).value(), inputs);
  return checked ? failure{} : checked.error();
}

}  // namespace

TEST_CASE("a dimension counts from either end and nothing beyond") {
  EXPECT(normalized_dim(0, 3) == 0);
  EXPECT(normalized_dim(2, 3) == 2);
  EXPECT(normalized_dim(-1, 3) == 2);
  EXPECT(normalized_dim(-3, 3) == 0);
  EXPECT(!normalized_dim(3, 3));
  EXPECT(!normalized_dim(-4, 3));
  EXPECT(!normalized_dim(0, 0));
  EXPECT(!normalized_dim(std::numeric_limits<std::int64_t>::min(), 3));
}

TEST_CASE("S9: a scatter rule turns a negative dimension into an index for each input and output") {
  const auto rule = make_scatter_rule(tensors({{4, 2, 5}, {5}}, {{7, 5}}), -1).value();
  EXPECT(rule.dim == -1);
  EXPECT(rule.axis == std::vector<std::int64_t>{2, 0});
  EXPECT(rule.out_axis == std::vector<std::int64_t>{1});
  EXPECT(rule.compiled_size == 5);
  EXPECT_FALSE(rule.is_batch_dim);
}

TEST_CASE("only dim 0 of every input and output is the batch dimension") {
  EXPECT(make_scatter_rule(tensors({{4, 2}}, {{4, 2}}), 0).value().is_batch_dim);
  EXPECT(make_scatter_rule(tensors({{4, 2}}, {{4, 2}}), -2).value().is_batch_dim);
  EXPECT_FALSE(make_scatter_rule(tensors({{4, 2}}, {{4, 4, 2}}), -2).value().is_batch_dim);
  EXPECT_FALSE(make_scatter_rule(tensors({{4, 2}}, {{4, 2}}), 1).value().is_batch_dim);
}

TEST_CASE("S21: 0-dimensional tensors are neither scattered nor cut") {
  const auto rule = make_scatter_rule(tensors({{}, {4, 2}}, {{}, {4}}), 0).value();
  EXPECT(rule.axis == std::vector<std::int64_t>{-1, 0});
  EXPECT(rule.out_axis == std::vector<std::int64_t>{-1, 0});
  EXPECT(rule.compiled_size == 4);
}

TEST_CASE("S9: a dimension that an input or output lacks is refused by name") {
  const auto in = make_scatter_rule(tensors({{4, 2, 2}, {4}}, {{4}}), 1);
  REQUIRE(!in);
  EXPECT(in.error().code == errc::dim_out_of_range);
  EXPECT(in.error().text == "dim 1 is out of range for input y, which is f32[4]: give -1 to 0");
  const auto out = make_scatter_rule(tensors({{4, 2}}, {{4}}), 1);
  REQUIRE(!out);
  EXPECT(out.error().code == errc::dim_out_of_range);
  EXPECT(out.error().text == "dim 1 is out of range for output output, which is f32[4]: give -1 to 0");
  EXPECT(make_scatter_rule(tensors({{}}, {{}}), 0).error().code == errc::dim_out_of_range);
}

TEST_CASE("S21: inputs that were compiled with different sizes along the dimension are refused") {
  const auto rule = make_scatter_rule(tensors({{4, 2}, {3, 2}}, {{4}}), 0);
  REQUIRE(!rule);
  EXPECT(rule.error().code == errc::shape_mismatch);
  EXPECT(contains(rule.error().text, "inputs x and y were compiled as f32[4,2] and f32[3,2]"));
  EXPECT(make_scatter_rule(tensors({{4, 2}, {3, 2}}, {{4, 2}}), 1).has_value());
}

TEST_CASE("S23: inputs of any number of rows fit, and the rows are counted") {
  const auto sig = tensors({{1, 3, 8}, {}}, {{1, 3, 8}});
  for (std::int64_t rows : {0, 1, 7}) {
    const auto checked =
        check_inputs(sig, make_scatter_rule(sig, 0).value(), {at::zeros({rows, 3, 8}), at::zeros({})});
    REQUIRE(checked.has_value());
    EXPECT(checked->rows == rows);
    EXPECT(checked->leaves.size() == 2);
  }
}

TEST_CASE("S23: what does not fit is refused with the expected and the given spec") {
  const auto sig = tensors({{1, 3, 8, 8}}, {{1, 3, 8, 8}});
  const auto size = check(sig, 0, {at::zeros({2, 3, 9, 8})});
  EXPECT(size.code == errc::shape_mismatch);
  EXPECT(size.text ==
         "input x is f32[2,3,9,8], but the model was compiled for f32[1,3,8,8]: only dim 0 may differ");
  EXPECT(contains(check(sig, -1, {at::zeros({2, 3, 8, 8})}).text, "only dim 3 may differ"));
  EXPECT(contains(check(sig, 0, {at::zeros({2, 3, 8, 8}, at::kDouble)}).text, "input x is f64[2,3,8,8]"));
  EXPECT(contains(check(sig, 0, {at::zeros({3, 8, 8})}).text, "input x is f32[3,8,8]"));
  EXPECT(check(sig, 0, {at::Tensor{}}).text == "input x is an undefined tensor");
  const auto freed = at::ones(sig.inputs[0].shape);
  freed.storage().set_nbytes(4);
  EXPECT(contains(check(sig, 0, {freed}).text, "but its values are not in its memory"));
  EXPECT(check(sig, 0, {at::zeros({2, 3, 8, 8}).to_sparse()}).text ==
         "input x has the layout Sparse: make it dense first");
  EXPECT(contains(check(sig, 0, {at::zeros({2, 3, 8, 8}, at::kMeta)}).text, "input x is on meta"));
  EXPECT(contains(check(sig, 0, {3}).text, "x: expected tensor f32[1,3,8,8], but int was given"));
  EXPECT(check(sig, 0, {}).text == "the model was compiled for 1 input (x), but 0 were given");
  const auto scalar = tensors({{2}, {}}, {{2}});
  EXPECT(contains(check(scalar, 0, {at::zeros({2}), at::zeros({2})}).text, "f32[]: its size is fixed"));
}

TEST_CASE("S21: inputs with different numbers of rows are refused, nothing is truncated") {
  const auto wrong = check(tensors({{1, 2}, {1, 2}}, {{1, 2}}), 0, {at::zeros({4, 2}), at::zeros({3, 2})});
  EXPECT(wrong.code == errc::shape_mismatch);
  EXPECT(wrong.text ==
         "input x has 4 rows along dim 0, but input y has 3: all inputs are scattered together");
}

TEST_CASE("S21: nested arguments are taken apart and put together again") {
  auto sig = tensors({{1, 2}, {1, 2}, {1, 2}}, {{1, 2}});
  const auto tuple = c10::ivalue::Tuple::create(at::zeros({1, 2}), 3);
  c10::Dict<std::string, at::Tensor> dict;
  dict.insert("a", at::zeros({1, 2}));
  sig.example = {tuple, c10::List<at::Tensor>({at::zeros({1, 2})}), dict, c10::IValue{}};
  sig.argument_names = {"t", "l", "d", "n"};
  c10::Dict<std::string, at::Tensor> given_dict;
  given_dict.insert("a", at::full({5, 2}, 3.f));
  const std::vector<c10::IValue> given{c10::ivalue::Tuple::create(at::full({5, 2}, 1.f), 4),
                                       c10::List<at::Tensor>({at::full({5, 2}, 2.f)}), given_dict,
                                       c10::IValue{}};
  const auto checked = check_inputs(sig, make_scatter_rule(sig, 0).value(), given).value();
  EXPECT(checked.rows == 5);
  REQUIRE(checked.leaves.size() == 5);
  EXPECT(checked.leaves[1].toInt() == 4);
  const auto arguments = arguments_from(sig, checked.leaves);
  REQUIRE(arguments.size() == 4);
  EXPECT(arguments[0].toTupleRef().elements()[0].toTensor().equal(at::full({5, 2}, 1.f)));
  EXPECT(arguments[1].isTensorList());
  EXPECT(arguments[1].toTensorVector()[0].equal(at::full({5, 2}, 2.f)));
  EXPECT(arguments[2].toGenericDict().at("a").toTensor().equal(at::full({5, 2}, 3.f)));
  EXPECT(arguments[3].isNone());
}

TEST_CASE("property: whatever dimension is scattered, any size along it fits and no other size may change") {
  std::mt19937 random{5};
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution{low, high}(random);
  };
  for (int round = 0; round < 300; ++round) {
    const auto rank = pick(1, 4);
    std::vector<std::int64_t> shape;
    for (std::int64_t d = 0; d < rank; ++d) shape.push_back(pick(1, 4));
    const auto dim = pick(-rank, rank - 1);
    const auto axis = static_cast<std::size_t>(dim < 0 ? dim + rank : dim);
    const auto sig = tensors({shape}, {shape});
    auto given = shape;
    given[axis] = pick(0, 9);
    const auto rule = make_scatter_rule(sig, dim).value();
    EXPECT(rule.axis[0] == static_cast<std::int64_t>(axis));
    const auto checked = check_inputs(sig, rule, {at::zeros(given)});
    REQUIRE(checked.has_value());
    EXPECT(checked->rows == given[axis]);
    const auto other = static_cast<std::size_t>(pick(0, rank - 1));
    if (other == axis) continue;
    ++given[other];
    EXPECT(check(sig, dim, {at::zeros(given)}).code == errc::shape_mismatch);
  }
}

#include <support/doctest.hpp>
#include <support/values.hpp>

#include "random_tree.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <limits>

using namespace ganglion;

namespace {

c10::TupleTypePtr point_type() {
  return c10::TupleType::createNamed(
      c10::QualifiedName("__torch__.point"), std::vector<std::string>{"x", "y"},
      std::vector<c10::TypePtr>{c10::TensorType::get(), c10::TensorType::get()});
}

c10::Dict<std::string, at::Tensor> masks(std::vector<std::string> keys) {
  c10::Dict<std::string, at::Tensor> dict;
  for (const auto& key : keys) dict.insert(key, at::ones({2}));
  return dict;
}

std::vector<std::string> paths_of(const c10::IValue& tree) {
  std::vector<std::string> paths;
  for (const auto& leaf : leaves_of(tree, "x")) paths.push_back(leaf.path);
  return paths;
}

std::vector<c10::IValue> values_of(const c10::IValue& tree) {
  std::vector<c10::IValue> values;
  for (const auto& leaf : leaves_of(tree)) values.push_back(leaf.value);
  return values;
}

std::string difference(const c10::IValue& wanted, const c10::IValue& given) {
  auto same = same_structure(wanted, given, "x");
  if (same) return "";
  EXPECT(same.error().code == errc::shape_mismatch);
  return same.error().text;
}

}  // namespace

TEST_CASE("leaves come depth first with their paths") {
  c10::List<at::Tensor> tensors({at::ones({1}), at::ones({2})});
  c10::Dict<std::int64_t, std::string> names;
  names.insert(7, "seven");
  auto tree = tuple(
      {tuple({at::ones({1}), 3}), tensors, masks({"b", "a"}), names, c10::List<std::int64_t>({1, 2}), {}});
  EXPECT(paths_of(tree) == std::vector<std::string>{"x[0][0]", "x[0][1]", "x[1][0]", "x[1][1]", "x[2][\"b\"]",
                                                    "x[2][\"a\"]", "x[3][7]", "x[4]", "x[5]"});
  EXPECT(paths_of(2.5) == std::vector<std::string>{"x"});
  EXPECT(paths_of(tuple({})).empty());
}

TEST_CASE("a tree with its own leaves put back is the same tree") {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    random_tree random(seed);
    auto tree = random.any();
    auto leaves = values_of(tree);
    auto copy = with_leaves(tree, leaves);
    NOTE(seed);
    EXPECT(same_structure(tree, copy).has_value());
    EXPECT(same_type(copy.type(), tree.type()));
    auto copied = values_of(copy);
    REQUIRE(copied.size() == leaves.size());
    for (std::size_t i = 0; i < leaves.size(); ++i)
      EXPECT((leaves[i].isTensor() ? leaves[i].is(copied[i]) : equal_leaves(leaves[i], copied[i])));
  }
}

TEST_CASE("new leaves leave the old tree alone") {
  auto tree = tuple({at::zeros({2}), masks({"m"}), c10::List<at::Tensor>({at::zeros({1})})});
  std::vector<c10::IValue> leaves{at::full({2}, 5), at::full({2}, 6), at::full({1}, 7)};
  auto fresh = with_leaves(tree, leaves);
  EXPECT(values_of(fresh)[1].is(leaves[1]));
  EXPECT(values_of(tree)[0].toTensor().sum().item<float>() == 0);
  EXPECT(values_of(tree)[2].toTensor().sum().item<float>() == 0);
}

TEST_CASE("container types survive, also of empty containers and named tuples") {
  auto named =
      c10::ivalue::Tuple::createNamed(std::vector<c10::IValue>{at::ones({1}), at::ones({1})}, point_type());
  auto tree = tuple({named, c10::List<at::Tensor>(), c10::Dict<std::string, at::Tensor>()});
  std::vector<c10::IValue> leaves{at::zeros({1}), at::zeros({1})};
  auto copy = with_leaves(tree, leaves);
  const auto& elements = copy.toTupleRef().elements();
  EXPECT(same_type(elements[0].type(), point_type()));
  EXPECT(elements[0].type()->expectRef<c10::TupleType>().name()->name() == "point");
  EXPECT(elements[1].isTensorList());
  EXPECT(elements[2].toGenericDict().valueType()->kind() == c10::TypeKind::TensorType);
}

TEST_CASE("structures of the same shape are the same, whatever the tensors' sizes") {
  EXPECT(difference(tuple({at::ones({1}), 1}), tuple({at::ones({2, 2}, at::kLong), 5})).empty());
  auto named =
      c10::ivalue::Tuple::createNamed(std::vector<c10::IValue>{at::ones({1}), at::ones({1})}, point_type());
  EXPECT(difference(named, tuple({at::ones({1}), at::ones({1})})).empty());
}

TEST_CASE("the first difference is named with its place and both sides") {
  auto one = at::ones({1});
  EXPECT(difference(tuple({one, one}), tuple({one})) == "x: expected tuple of 2, but tuple of 1 was given");
  EXPECT(difference(tuple({one, one}), one) == "x: expected tuple of 2, but tensor f32[1] was given");
  EXPECT(difference(tuple({one, tuple({1})}), tuple({one, tuple({2.5})})) ==
         "x[1][0]: expected int, but float was given");
  EXPECT(difference(c10::List<at::Tensor>({one}), tuple({one})) ==
         "x: expected list of 1, but tuple of 1 was given");
  EXPECT(difference(c10::List<std::int64_t>({1}), c10::List<double>({1})) ==
         "x: expected list of 1 ints, but list of 1 floats was given");
  EXPECT(difference({}, one) == "x: expected None, but tensor f32[1] was given");
}

TEST_CASE("dicts must have the same keys in the same order") {
  EXPECT(difference(masks({"a", "b"}), masks({"a", "b"})).empty());
  EXPECT(difference(masks({"a", "b"}), masks({"a", "c"})) ==
         "x: the key \"b\" is missing; expected the keys \"a\", \"b\", but \"a\", \"c\" were given");
  EXPECT(difference(masks({"a", "b"}), masks({"b", "a"})) ==
         "x: the keys must come in the order \"a\", \"b\", but \"b\", \"a\" were given");
  EXPECT(difference(masks({"a"}), masks({"a", "b"})) == "x: expected dict of 1, but dict of 2 was given");
}

TEST_CASE("leaves are equal in type and value") {
  EXPECT(equal_leaves({}, {}));
  EXPECT(equal_leaves(3, 3));
  EXPECT_FALSE(equal_leaves(3, 4));
  EXPECT_FALSE(equal_leaves(3, 3.0));
  EXPECT_FALSE(equal_leaves(1, true));
  EXPECT(equal_leaves(0.5, 0.5));
  EXPECT(equal_leaves(std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()));
  EXPECT(equal_leaves("a", "a"));
  EXPECT_FALSE(equal_leaves("a", "b"));
  EXPECT(equal_leaves(c10::complex<double>(1, 2), c10::complex<double>(1, 2)));
  EXPECT_FALSE(equal_leaves(c10::complex<double>(1, 2), c10::complex<double>(1, 3)));
  EXPECT(equal_leaves(c10::Device("cpu"), c10::Device("cpu")));
  EXPECT(equal_leaves(c10::List<double>({1, 2}), c10::List<double>({1, 2})));
  EXPECT_FALSE(equal_leaves(c10::List<double>({1, 2}), c10::List<double>({1, 3})));
  EXPECT_FALSE(equal_leaves(c10::List<double>({1, 2}), c10::List<double>({1})));
  EXPECT_FALSE(equal_leaves(c10::List<double>(), c10::List<std::int64_t>()));
}

TEST_CASE("values are described by their type and size") {
  EXPECT(describe(at::ones({2, 3})) == "tensor f32[2,3]");
  EXPECT(describe(at::Tensor()) == "undefined tensor");
  EXPECT(describe(tuple({1, 2})) == "tuple of 2");
  EXPECT(describe(masks({"a"})) == "dict of 1");
  EXPECT(describe(c10::List<at::Tensor>()) == "list of 0");
  EXPECT(describe(c10::List<std::string>({"a"})) == "list of 1 strings");
  EXPECT(describe({}) == "None");
  EXPECT(describe(true) == "bool");
}

TEST_CASE("leaves are written as Python would, and long ones cut short") {
  EXPECT(leaf_text(3) == "3");
  EXPECT(leaf_text(2.0) == "2.0");
  EXPECT(leaf_text(0.1) == "0.1");
  EXPECT(leaf_text(true) == "True");
  EXPECT(leaf_text({}) == "None");
  EXPECT(leaf_text("a\"b\n") == "\"a\\\"b\\n\"");
  EXPECT(leaf_text(std::string(100, 'a')) == "\"" + std::string(60, 'a') + "\"...");
  EXPECT(leaf_text(c10::complex<double>(1, -2)) == "(1-2j)");
  EXPECT(leaf_text(c10::List<std::int64_t>({1, 2})) == "[1, 2]");
  EXPECT(leaf_text(c10::List<std::int64_t>({1, 2, 3, 4, 5, 6, 7, 8, 9})) == "[1, 2, 3, 4, 5, 6, 7, 8, ...]");
  EXPECT(leaf_text(at::ones({2})) == "tensor f32[2]");
}

#include <ganglion/model_io/signature.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>

#include <ATen/ATen.h>

#include <limits>

using namespace ganglion;

namespace {

const auto tensor_type = c10::TensorType::get();

signature nested() {
  signature sig;
  c10::Dict<std::string, at::Tensor> dict;
  dict.insert("mask", at::zeros({2, 3}, at::kLong));
  dict.insert("bias", at::zeros({2}));
  sig.argument_names = {"pair", "more", "named", "plain"};
  sig.example = {
      c10::ivalue::Tuple::create(at::zeros({2, 3}), c10::ivalue::Tuple::create(at::zeros({}), true)),
      c10::List<at::Tensor>({at::zeros({2}, at::kBFloat16)}), dict,
      c10::ivalue::Tuple::create(std::vector<c10::IValue>{
          3, std::numeric_limits<double>::infinity(), 0.1, "text \"quoted\"", c10::IValue{},
          c10::List<std::int64_t>({1, -2}), c10::List<double>({0.5}), c10::List<bool>({true, false}),
          c10::List<std::string>({"a"}), c10::List<std::int64_t>(std::initializer_list<std::int64_t>{})})};
  sig.result = c10::ivalue::Tuple::create(at::zeros({2, 0}),
                                          c10::List<at::Tensor>(std::initializer_list<at::Tensor>{}));
  sig.inputs = {{at::kFloat, {2, 3}, "pair[0]"},
                {at::kFloat, {}, "pair[1][0]"},
                {at::kBFloat16, {2}, "more[0]"},
                {at::kLong, {2, 3}, "named[\"mask\"]"},
                {at::kFloat, {2}, "named[\"bias\"]"}};
  sig.outputs = {{at::kFloat, {2, 0}, "output[0]"}};
  sig.ranges.resize(5);
  sig.ranges[0] = {-1.5, 2.25, 1.0 / 3, 1e-300};
  sig.not_eligible = "the output depends on \"its\" neighbours";
  sig.writes_inputs = true;
  sig.pipeline_cores = 2;
  return sig;
}

std::vector<c10::TypePtr> nested_types() {
  return {c10::TupleType::create({tensor_type, c10::TupleType::create({tensor_type, c10::BoolType::get()})}),
          c10::OptionalType::create(c10::ListType::create(tensor_type)),
          c10::DictType::create(c10::StringType::get(), tensor_type), c10::AnyType::get()};
}

const auto result_type = c10::TupleType::create({tensor_type, c10::ListType::create(tensor_type)});

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

}  // namespace

TEST_CASE("a signature reads back as it was written, with its containers' types") {
  const auto sig = nested();
  const auto read = signature_from_json(to_json(sig), nested_types(), result_type).value();
  EXPECT(read.argument_names == sig.argument_names);
  EXPECT((read.inputs == sig.inputs));
  EXPECT((read.outputs == sig.outputs));
  EXPECT(read.not_eligible == sig.not_eligible);
  EXPECT((read.writes_inputs == sig.writes_inputs));
  EXPECT(read.pipeline_cores == sig.pipeline_cores);
  EXPECT(read.ranges[0].low == -1.5);
  EXPECT(read.ranges[0].mean == 1.0 / 3);
  EXPECT(read.ranges[0].deviation == 1e-300);
  REQUIRE(read.example.size() == sig.example.size());
  for (std::size_t i = 0; i < sig.example.size(); ++i) {
    EXPECT(same_structure(sig.example[i], read.example[i]).has_value());
    EXPECT(read.example[i].type()->str() == sig.example[i].type()->str());
    const auto wanted = leaves_of(sig.example[i]), given = leaves_of(read.example[i]);
    for (std::size_t k = 0; k < wanted.size(); ++k)
      EXPECT((wanted[k].value.isTensor() || equal_leaves(wanted[k].value, given[k].value)));
  }
  EXPECT(same_structure(sig.result, read.result).has_value());
  EXPECT(read.result.toTupleRef().elements()[1].isTensorList());
  EXPECT(to_json(read) == to_json(sig));
}

TEST_CASE("a named tuple stays one") {
  signature sig;
  const auto type =
      c10::TupleType::createNamed(c10::QualifiedName{"__torch__.Pair"},
                                  std::vector<std::string>{"left", "right"}, {tensor_type, tensor_type});
  sig.argument_names = {"pair"};
  sig.example = {c10::ivalue::Tuple::createNamed({at::zeros({1}), at::zeros({1})}, type)};
  sig.result = at::zeros({1});
  sig.ranges.resize(2);
  const auto read = signature_from_json(to_json(sig), {type}, tensor_type).value();
  EXPECT(read.example[0].type()->annotation_str() == type->annotation_str());
}

TEST_CASE("placeholders take the memory of one element") {
  signature sig;
  sig.argument_names = {"x"};
  sig.example = {at::zeros({1}).expand({1 << 20, 1 << 10})};
  sig.result = at::zeros({1});
  sig.ranges.resize(1);
  const auto read = signature_from_json(to_json(sig), {tensor_type}, tensor_type).value();
  EXPECT(read.example[0].toTensor().numel() == 1 << 30);
  EXPECT(read.example[0].toTensor().storage().nbytes() == sizeof(float));
}

TEST_CASE("a signature of another version or with damage is refused with a sentence") {
  const auto text = to_json(nested());
  const auto refused = [](const std::string& damaged) {
    const auto read = signature_from_json(damaged, nested_types(), result_type);
    REQUIRE(!read);
    EXPECT(read.error().code == errc::model_load_failed);
    return read.error().text;
  };
  EXPECT(refused(replaced(text, "\"version\":1", "\"version\":7")) ==
         "its signature has version 7, but this Ganglion reads version 1");
  EXPECT(contains(refused(replaced(text, "\"f32\"", "\"f33\"")), "\"f33\" is no element type"));
  EXPECT(contains(refused(replaced(text, "[2,3]", "[-2,3]")), "impossible sizes"));
  EXPECT(contains(refused(replaced(text, "[2,3]", "[9223372036854775807,3]")), "impossible sizes"));
  EXPECT(contains(refused(replaced(text, "\"tuple\"", "\"triple\"")), "\"triple\" is no kind of value"));
  EXPECT(contains(refused(replaced(text, "\"-1.5\"", "\"-1.5x\"")), "\"-1.5x\" is no number"));
  EXPECT(contains(refused(replaced(text, "\"ranges\":[",
                                   "\"ranges\":[{\"low\":\"0\",\"high\":\"1\",\"mean\":\"0\","
                                   "\"deviation\":\"1\"},")),
                  "6 ranges for 5 tensors"));
  for (std::size_t n = 0; n < text.size(); n += 7) refused(text.substr(0, n));
}

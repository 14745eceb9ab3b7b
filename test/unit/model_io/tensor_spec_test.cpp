#include <support/doctest.hpp>

#include <ganglion/model_io/tensor_spec.hpp>

#include <ATen/ATen.h>

using namespace ganglion;

namespace {

constexpr const char* short_names[] = {"f32", "f64", "f16", "bf16", "i8", "i16", "i32", "i64", "u8", "bool"};

}  // namespace

TEST_CASE("each short name of an element type reads back") {
  for (std::string name : short_names) {
    auto dtype = parse_dtype(name);
    REQUIRE(dtype.has_value());
    EXPECT(dtype_name(*dtype) == name);
  }
  EXPECT(dtype_name(at::kComplexFloat) == "c64");
  EXPECT(dtype_name(at::kComplexDouble) == "c128");
}

TEST_CASE("a specification reads and prints as the same text") {
  for (std::string text : {"f32[1,3,224,224]", "i64[7]", "bool[]", "bf16[2,9000000000]"}) {
    auto spec = parse_tensor_spec(text);
    REQUIRE(spec.has_value());
    EXPECT(to_string(*spec) == text);
    EXPECT(spec->name.empty());
  }
  EXPECT(parse_tensor_spec("f16[2,3]").value() == tensor_spec{at::kHalf, {2, 3}, ""});
}

TEST_CASE("a malformed specification is refused with its text in the sentence") {
  for (std::string text : {"",
                           "f32",
                           "[1]",
                           "f33[1]",
                           "f32[",
                           "f32[1",
                           "f32[1,]",
                           "f32[,1]",
                           "f32[1]]",
                           "f32[1]x",
                           "f32[0]",
                           "f32[-1]",
                           "f32[1,0,2]",
                           "f32[+1]",
                           "f32[ 1]",
                           "f32[1.5]",
                           "f32[x]",
                           " f32[1]",
                           "F32[1]",
                           "f32[99999999999999999999]",
                           "f32[4611686018427387904,4]"}) {
    NOTE(text);
    auto spec = parse_tensor_spec(text);
    REQUIRE(spec.has_error());
    EXPECT(spec.error().code == errc::invalid_argument);
    EXPECT(spec.error().text.find("'" + text + "'") != std::string::npos);
  }
}

TEST_CASE("more dimensions than LibTorch takes are refused") {
  std::string text = "f32[1";
  for (int i = 0; i < 64; ++i) text += ",1";
  EXPECT(parse_tensor_spec(text + "]").has_error());
}

TEST_CASE("the specification of a tensor has its dtype, sizes and name") {
  auto spec = spec_of(at::zeros({2, 0, 3}, at::kShort), "x");
  EXPECT(spec == tensor_spec{at::kShort, {2, 0, 3}, "x"});
  EXPECT(to_string(spec) == "i16[2,0,3]");
  EXPECT(to_string(spec_of(at::zeros({}))) == "f32[]");
}

TEST_CASE("random tensors have the spec, stay in their range and repeat with their seed") {
  for (std::string name : short_names) {
    NOTE(name);
    auto spec = parse_tensor_spec(name + "[40,5]").value();
    auto tensor = random_tensor(spec, 7);
    EXPECT(spec_of(tensor) == spec);
    EXPECT(at::equal(tensor, random_tensor(spec, 7)));
    EXPECT_FALSE(at::equal(tensor, random_tensor(spec, 8)));
    auto values = tensor.to(at::kDouble);
    EXPECT(values.min().item<double>() >= 0);
    EXPECT(values.max().item<double>() <= (tensor.is_floating_point() ? 1 : name == "bool" ? 1 : 9));
    EXPECT(values.max().item<double>() > values.min().item<double>());
  }
}

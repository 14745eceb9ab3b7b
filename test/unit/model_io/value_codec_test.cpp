#include <support/doctest.hpp>
#include <support/errors.hpp>

#include "random_tree.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <limits>

using namespace ganglion;

namespace {

c10::IValue round_trip(const c10::IValue& value) { return decode_value(encode_value(value).value()).value(); }

/// Equal in structure, types, values and dtypes.
bool same_value(const c10::IValue& a, const c10::IValue& b) {
  if (!same_structure(a, b)) return false;
  auto x = leaves_of(a);
  auto y = leaves_of(b);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!x[i].value.isTensor()) {
      if (!equal_leaves(x[i].value, y[i].value)) return false;
      continue;
    }
    const at::Tensor& s = x[i].value.toTensor();
    const at::Tensor& t = y[i].value.toTensor();
    if (s.dtype() != t.dtype() || s.sizes() != t.sizes() || !at::equal(s, t)) return false;
  }
  return true;
}

std::string refusal(const c10::IValue& value) {
  auto bytes = encode_value(value);
  REQUIRE(bytes.has_error());
  EXPECT(bytes.error().code == errc::invalid_argument);
  return bytes.error().text;
}

}  // namespace

TEST_CASE("random trees come back with their structure, types and values") {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    NOTE(seed);
    auto tree = random_tree(seed).any(4);
    auto copy = round_trip(tree);
    EXPECT(same_value(tree, copy));
    EXPECT(copy.type()->annotation_str() == tree.type()->annotation_str());
  }
}

TEST_CASE("empty containers and named tuples keep their types") {
  auto copy = round_trip(c10::List<at::Tensor>());
  EXPECT(copy.isTensorList());
  EXPECT(round_trip(c10::List<std::int64_t>()).isIntList());

  c10::Dict<std::string, c10::List<at::Tensor>> dict;
  auto dict_copy = round_trip(dict).toGenericDict();
  EXPECT(same_type(dict_copy.valueType(), c10::ListType::ofTensors()));
  EXPECT(dict_copy.keyType()->kind() == c10::TypeKind::StringType);

  auto type =
      c10::TupleType::createNamed(c10::QualifiedName("__torch__.mod.point"), std::vector<std::string>{"x"},
                                  std::vector<c10::TypePtr>{c10::OptionalType::ofTensor()});
  auto named = round_trip(c10::ivalue::Tuple::createNamed(std::vector<c10::IValue>{c10::IValue()}, type));
  EXPECT(same_type(named.type(), type));
  EXPECT(named.type()->expectRef<c10::TupleType>().name()->qualifiedName() == "__torch__.mod.point");
}

TEST_CASE("floats travel as their bits") {
  for (double value : {0.0, -0.0, 1e-310, 0.1, std::numeric_limits<double>::infinity()}) {
    auto copy = round_trip(value).toDouble();
    EXPECT(copy == value);
    EXPECT(std::signbit(copy) == std::signbit(value));
  }
  EXPECT(std::isnan(round_trip(std::numeric_limits<double>::quiet_NaN()).toDouble()));
}

TEST_CASE("a view arrives as its own elements alone, and an undefined tensor as such") {
  auto view = at::arange(1000).view({10, 100}).t().slice(0, 3, 5);
  EXPECT(encode_value(view).value().size() < 300);
  auto copy = round_trip(view).toTensor();
  EXPECT(at::equal(copy, view));
  EXPECT(copy.is_contiguous());
  EXPECT_FALSE(round_trip(at::Tensor()).toTensor().defined());
}

TEST_CASE("what has no place on the wire is refused by name") {
  EXPECT(contains(refusal(c10::Device("cpu")), "device"));
  EXPECT(contains(refusal(at::ones({2}).to_sparse()), "Sparse"));
  EXPECT(contains(refusal(at::empty({2}, at::TensorOptions().device(at::kMeta))), "meta"));
  EXPECT(contains(refusal(c10::ivalue::Tuple::create({c10::IValue(1), c10::IValue(c10::Device("cpu"))})),
                  "device"));
  c10::Dict<double, at::Tensor> dict;
  EXPECT(contains(refusal(dict), "keys of type float"));

  c10::IValue deep = 1;
  for (int i = 0; i < 70; ++i) deep = c10::ivalue::Tuple::create({deep});
  EXPECT(contains(refusal(deep), "deeper than 64"));
}

TEST_CASE("bytes cut short anywhere are refused") {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    auto bytes = encode_value(random_tree(seed).any(3)).value();
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      auto value = decode_value(std::span(bytes).first(length));
      REQUIRE(value.has_error());
      REQUIRE(value.error().code == errc::invalid_argument);
    }
  }
}

TEST_CASE("bytes that go on after the value are refused") {
  auto bytes = encode_value(3).value();
  bytes.push_back(0);
  EXPECT(contains(decode_value(bytes).error().text, "1 bytes follow"));
}

TEST_CASE("bytes of another version are refused with both versions") {
  auto bytes = encode_value(3).value();
  bytes[0] = 9;
  EXPECT(contains(decode_value(bytes).error().text, "version 9"));
}

TEST_CASE("damaged bytes are refused or read as another value, which can be sent again") {
  std::mt19937_64 random(1);
  std::size_t refused = 0;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    const auto original = encode_value(random_tree(seed).any(4)).value();
    for (int round = 0; round < 60; ++round) {
      auto bytes = original;
      for (auto flips = 1 + random() % 3; flips > 0; --flips)
        bytes[random() % bytes.size()] = static_cast<char>(random());
      auto value = decode_value(bytes);
      if (!value)
        ++refused;
      else
        REQUIRE(encode_value(*value).has_value());
    }
  }
  EXPECT(refused > 1000);
}

TEST_CASE("impossible sizes are refused before anything is allocated") {
  auto bytes = encode_value(at::zeros({1, 2})).value();
  // Version, kind, dtype and rank come first, then the sizes.
  constexpr std::size_t first_size = 4;
  for (std::int64_t size :
       {std::int64_t{-1}, std::int64_t{1} << 40, std::int64_t{1} << 62,
        std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()}) {
    auto hostile = bytes;
    std::memcpy(hostile.data() + first_size, &size, sizeof(size));
    EXPECT(decode_value(hostile).has_error());
  }
  auto list = encode_value(c10::List<std::int64_t>({1})).value();
  std::uint64_t count = std::uint64_t{1} << 60;
  std::memcpy(list.data() + 3, &count, sizeof(count));
  EXPECT(contains(decode_value(list).error().text, "fewer bytes than elements"));
}

TEST_CASE("a bool tensor holds only zeros and ones, whatever the bytes") {
  auto bytes = encode_value(at::zeros({2}, at::kBool)).value();
  bytes.back() = 77;
  auto tensor = decode_value(bytes).value().toTensor();
  EXPECT(static_cast<const unsigned char*>(tensor.data_ptr())[1] == 1);
}

TEST_CASE("an element that is not of its list's type is refused") {
  auto bytes = encode_value(c10::List<bool>({true})).value();
  // Version, kind and element type come first.
  bytes[2] = encode_value(c10::List<std::int64_t>()).value()[2];
  EXPECT(contains(decode_value(bytes).error().text, "bool stands where int is declared"));
}

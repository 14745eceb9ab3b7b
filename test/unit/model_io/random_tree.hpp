#pragma once

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

#include <random>
#include <string>
#include <vector>

/// doctest would print the two sides with LibTorch's own `toString`, which it cannot use.
inline bool same_type(const c10::TypePtr& a, const c10::TypePtr& b) { return *a == *b; }

/// Makes values with every container and leaf that Ganglion knows, from a seed.
class random_tree {
 public:
  explicit random_tree(std::uint64_t seed) : random_(seed) {}

  c10::IValue any(int depth = 3) {
    if (depth == 0 || pick(3) == 0) return leaf();
    switch (pick(4)) {
      case 0: return c10::ivalue::Tuple::create(several(pick(4), depth));
      case 1: return named_tuple();
      case 2: return list(depth);
      default: return dict(depth);
    }
  }

  at::Tensor tensor() {
    std::vector<std::int64_t> shape;
    for (auto rank = pick(4); rank > 0; --rank) shape.push_back(static_cast<std::int64_t>(pick(4)));
    constexpr at::ScalarType dtypes[] = {at::kFloat, at::kDouble, at::kHalf,        at::kBFloat16,
                                         at::kChar,  at::kShort,  at::kInt,         at::kLong,
                                         at::kByte,  at::kBool,   at::kComplexFloat};
    auto values = at::empty(shape, at::kInt);
    for (std::int64_t i = 0; i < values.numel(); ++i) values.data_ptr<int>()[i] = static_cast<int>(pick(100));
    return values.to(dtypes[pick(std::size(dtypes))]);
  }

  std::size_t pick(std::size_t below) { return random_() % below; }

 private:
  c10::IValue leaf() {
    switch (pick(11)) {
      case 0: return {};
      case 1: return static_cast<std::int64_t>(random_());
      case 2: return 0.25 * static_cast<double>(pick(1000)) - 100;
      case 3: return pick(2) == 0;
      case 4: return text();
      case 5: return c10::complex<double>(static_cast<double>(pick(9)), -1.5);
      case 6: return c10::List<std::int64_t>({1, -2, static_cast<std::int64_t>(pick(9))});
      case 7: return c10::List<double>();
      case 8: return c10::List<std::string>({text(), text()});
      default: return tensor();
    }
  }

  std::string text() { return "text " + std::to_string(pick(1000)) + std::string(pick(2), '\0'); }

  std::vector<c10::IValue> several(std::size_t count, int depth) {
    std::vector<c10::IValue> values;
    while (values.size() < count) values.push_back(any(depth - 1));
    return values;
  }

  c10::IValue named_tuple() {
    auto type = c10::TupleType::createNamed(
        c10::QualifiedName("__torch__.pair"), std::vector<std::string>{"first", "second"},
        std::vector<c10::TypePtr>{c10::TensorType::get(), c10::OptionalType::create(c10::IntType::get())});
    auto second = pick(2) == 0 ? c10::IValue() : c10::IValue(5);
    return c10::ivalue::Tuple::createNamed(std::vector<c10::IValue>{tensor(), second}, type);
  }

  c10::IValue list(int depth) {
    if (pick(2) == 0) {
      c10::List<at::Tensor> tensors;
      for (auto count = pick(3); count > 0; --count) tensors.push_back(tensor());
      return tensors;
    }
    c10::impl::GenericList values(c10::AnyType::get());
    for (const auto& value : several(pick(3), depth)) values.push_back(value);
    return values;
  }

  c10::IValue dict(int depth) {
    if (pick(2) == 0) {
      c10::Dict<std::int64_t, at::Tensor> tensors;
      for (auto count = pick(3); count > 0; --count)
        tensors.insert(static_cast<std::int64_t>(pick(1000)), tensor());
      return tensors;
    }
    c10::impl::GenericDict values(c10::StringType::get(), c10::AnyType::get());
    for (const auto& value : several(pick(3), depth))
      values.insert(std::to_string(values.size()) + text(), value);
    return values;
  }

  std::mt19937_64 random_;
};

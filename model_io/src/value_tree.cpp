#include <ganglion/model_io/value_tree.hpp>

#include "value_kinds.hpp"

#include <ganglion/model_io/tensor_spec.hpp>

#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

namespace ganglion {

namespace {

std::string index_path(std::string_view path, std::size_t index) {
  return fmt::format("{}[{}]", path, index);
}

std::string key_path(std::string_view path, const c10::IValue& key) {
  return fmt::format("{}[{}]", path, leaf_text(key));
}

void collect(const c10::IValue& tree, std::string path, std::vector<value_leaf>& leaves) {
  switch (node_kind_of(tree)) {
    case node_kind::leaf: leaves.push_back({std::move(path), tree}); break;
    case node_kind::tuple: {
      std::size_t i = 0;
      for (const c10::IValue& element : tree.toTupleRef().elements())
        collect(element, index_path(path, i++), leaves);
      break;
    }
    case node_kind::list: {
      std::size_t i = 0;
      for (const c10::IValue& element : tree.toListRef()) collect(element, index_path(path, i++), leaves);
      break;
    }
    case node_kind::dict:
      for (const auto& entry : tree.toGenericDict())
        collect(entry.value(), key_path(path, entry.key()), leaves);
  }
}

/// Takes the leaves of the subtree off the front of `leaves`.
c10::IValue rebuilt(const c10::IValue& tree, std::span<const c10::IValue>& leaves) {
  switch (node_kind_of(tree)) {
    case node_kind::leaf: break;
    case node_kind::tuple: {
      const auto& tuple = tree.toTupleRef();
      std::vector<c10::IValue> elements;
      elements.reserve(tuple.size());
      for (const c10::IValue& element : tuple.elements()) elements.push_back(rebuilt(element, leaves));
      return tuple_like(tuple, std::move(elements));
    }
    case node_kind::list: {
      c10::impl::GenericList list(tree.toList().elementType());
      list.reserve(tree.toListRef().size());
      for (const c10::IValue& element : tree.toListRef()) list.push_back(rebuilt(element, leaves));
      return list;
    }
    case node_kind::dict: {
      auto old = tree.toGenericDict();
      c10::impl::GenericDict dict(old.keyType(), old.valueType());
      dict.reserve(old.size());
      for (const auto& entry : old) dict.insert(entry.key(), rebuilt(entry.value(), leaves));
      return dict;
    }
  }
  c10::IValue leaf = leaves.front();
  leaves = leaves.subspan(1);
  return leaf;
}

std::string_view element_name(const c10::Type& type) {
  switch (type.kind()) {
    case c10::TypeKind::IntType: return "ints";
    case c10::TypeKind::FloatType: return "floats";
    case c10::TypeKind::BoolType: return "bools";
    case c10::TypeKind::StringType: return "strings";
    default: return "complex numbers";
  }
}

/// The kind of a leaf, without its size.
std::string leaf_kind(const c10::IValue& value) {
  if (value.isTensor()) return "tensor";
  if (value.isInt()) return "int";
  if (value.isDouble()) return "float";
  if (value.isBool()) return "bool";
  if (value.isString()) return "string";
  if (value.isComplexDouble()) return "complex number";
  if (value.isList()) return fmt::format("list of {}", element_name(*value.toList().elementType()));
  if (value.isDevice()) return "device";
  if (value.isObject()) return fmt::format("object of class {}", value.type()->str());
  return value.tagKind();
}

failure differs(std::string_view path, const c10::IValue& wanted, const c10::IValue& given) {
  return {errc::shape_mismatch,
          fmt::format("{}: expected {}, but {} was given", path, describe(wanted), describe(given))};
}

std::string key_list(const c10::impl::GenericDict& dict) {
  std::string text;
  for (const auto& entry : dict)
    text += fmt::format("{}{}", text.empty() ? "" : ", ", leaf_text(entry.key()));
  return text;
}

expected<void> compare(const c10::IValue& wanted, const c10::IValue& given, const std::string& path);

template <class Elements>
expected<void> compare_elements(const Elements& wanted, const Elements& given, const std::string& path) {
  for (std::size_t i = 0; i < wanted.size(); ++i)
    if (auto same = compare(wanted[i], given[i], index_path(path, i)); !same) return same;
  return {};
}

expected<void> compare_dicts(const c10::impl::GenericDict& wanted, const c10::impl::GenericDict& given,
                             const std::string& path) {
  for (auto a = wanted.begin(), b = given.begin(); a != wanted.end(); ++a, ++b) {
    if (!given.contains(a->key()))
      return failure{errc::shape_mismatch,
                     fmt::format("{}: the key {} is missing; expected the keys {}, but {} were given", path,
                                 leaf_text(a->key()), key_list(wanted), key_list(given))};
    if (!equal_leaves(a->key(), b->key()))
      return failure{errc::shape_mismatch,
                     fmt::format("{}: the keys must come in the order {}, but {} were given", path,
                                 key_list(wanted), key_list(given))};
    if (auto same = compare(a->value(), b->value(), key_path(path, a->key())); !same) return same;
  }
  return {};
}

expected<void> compare(const c10::IValue& wanted, const c10::IValue& given, const std::string& path) {
  auto kind = node_kind_of(wanted);
  if (kind != node_kind_of(given)) return differs(path, wanted, given);
  switch (kind) {
    case node_kind::leaf: break;
    case node_kind::tuple: {
      const auto& a = wanted.toTupleRef().elements();
      const auto& b = given.toTupleRef().elements();
      if (a.size() != b.size()) return differs(path, wanted, given);
      return compare_elements(a, b, path);
    }
    case node_kind::list: {
      auto a = wanted.toListRef();
      auto b = given.toListRef();
      if (a.size() != b.size()) return differs(path, wanted, given);
      return compare_elements(a, b, path);
    }
    case node_kind::dict: {
      auto a = wanted.toGenericDict();
      auto b = given.toGenericDict();
      if (a.size() != b.size()) return differs(path, wanted, given);
      return compare_dicts(a, b, path);
    }
  }
  if (leaf_kind(wanted) != leaf_kind(given)) return differs(path, wanted, given);
  return {};
}

/// Equal to the bit, so that a NaN equals itself.
bool same_float(double a, double b) {
  return a == b || std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

}  // namespace

std::vector<value_leaf> leaves_of(const c10::IValue& tree, std::string_view root) {
  std::vector<value_leaf> leaves;
  collect(tree, std::string{root}, leaves);
  return leaves;
}

c10::IValue with_leaves(const c10::IValue& tree, std::span<const c10::IValue> leaves) {
  return rebuilt(tree, leaves);
}

expected<void> same_structure(const c10::IValue& expected_tree, const c10::IValue& given,
                              std::string_view root) {
  return compare(expected_tree, given, std::string{root});
}

bool equal_leaves(const c10::IValue& a, const c10::IValue& b) {
  if (a.isTensor() || leaf_kind(a) != leaf_kind(b)) return false;
  if (a.isNone()) return true;
  if (a.isInt()) return a.toInt() == b.toInt();
  if (a.isDouble()) return same_float(a.toDouble(), b.toDouble());
  if (a.isBool()) return a.toBool() == b.toBool();
  if (a.isString()) return a.toStringRef() == b.toStringRef();
  if (a.isDevice()) return a.toDevice() == b.toDevice();
  if (a.isComplexDouble()) {
    auto x = a.toComplexDouble(), y = b.toComplexDouble();
    return same_float(x.real(), y.real()) && same_float(x.imag(), y.imag());
  }
  if (a.isList()) {
    auto x = a.toListRef(), y = b.toListRef();
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), equal_leaves);
  }
  return a.is(b);
}

std::string describe(const c10::IValue& value) {
  switch (node_kind_of(value)) {
    case node_kind::leaf: break;
    case node_kind::tuple: return fmt::format("tuple of {}", value.toTupleRef().size());
    case node_kind::list: return fmt::format("list of {}", value.toListRef().size());
    case node_kind::dict: return fmt::format("dict of {}", value.toGenericDict().size());
  }
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    if (!tensor.defined()) return "undefined tensor";
    return fmt::format("tensor {}", to_string(tensor.scalar_type(), tensor.sizes()));
  }
  if (value.isList())
    return fmt::format("list of {} {}", value.toListRef().size(),
                       element_name(*value.toList().elementType()));
  return leaf_kind(value);
}

std::string leaf_text(const c10::IValue& value) {
  constexpr std::size_t longest_string = 60;
  constexpr std::size_t longest_list = 8;
  if (value.isNone()) return "None";
  if (value.isInt()) return fmt::format("{}", value.toInt());
  if (value.isDouble()) {
    auto text = fmt::format("{}", value.toDouble());
    return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;
  }
  if (value.isBool()) return value.toBool() ? "True" : "False";
  if (value.isString()) {
    std::string_view text = value.toStringRef();
    return fmt::format("{:?}{}", text.substr(0, longest_string), text.size() > longest_string ? "..." : "");
  }
  if (value.isComplexDouble())
    return fmt::format("({}{:+}j)", value.toComplexDouble().real(), value.toComplexDouble().imag());
  if (value.isDevice()) return value.toDevice().str();
  if (value.isList() && node_kind_of(value) == node_kind::leaf) {
    std::string text;
    auto elements = value.toListRef();
    for (const c10::IValue& element : elements.slice(0, std::min(elements.size(), longest_list)))
      text += fmt::format("{}{}", text.empty() ? "" : ", ", leaf_text(element));
    return fmt::format("[{}{}]", text, elements.size() > longest_list ? ", ..." : "");
  }
  return describe(value);
}

}  // namespace ganglion

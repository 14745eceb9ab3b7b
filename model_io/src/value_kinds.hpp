#pragma once

#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

namespace ganglion {

enum class node_kind { leaf, tuple, list, dict };

/// Whether a list of such elements is one leaf: numbers and strings.
inline bool is_leaf_element(const c10::Type& type) {
  switch (type.kind()) {
    case c10::TypeKind::IntType:
    case c10::TypeKind::FloatType:
    case c10::TypeKind::BoolType:
    case c10::TypeKind::StringType:
    case c10::TypeKind::ComplexType: return true;
    default: return false;
  }
}

inline node_kind node_kind_of(const c10::IValue& value) {
  if (value.isTuple()) return node_kind::tuple;
  if (value.isGenericDict()) return node_kind::dict;
  if (value.isList())
    return is_leaf_element(*value.toList().elementType()) ? node_kind::leaf : node_kind::list;
  return node_kind::leaf;
}

/// The type of a named tuple; null for a plain one. A tuple computes its type on first use and keeps it,
/// without a lock, so this asks an empty copy: the tuple may be in use on other threads.
inline c10::TupleTypePtr named_type(const c10::ivalue::Tuple& tuple) {
  auto copy = c10::make_intrusive<c10::ivalue::Tuple>(tuple);
  copy->setElements(std::vector<c10::IValue>{});
  auto type = copy->type<c10::TupleType>();
  return type->schema() && type->name() ? type : nullptr;
}

/// A tuple of the same type as `like` with other elements.
inline c10::IValue tuple_like(const c10::ivalue::Tuple& like, std::vector<c10::IValue> elements) {
  if (auto type = named_type(like))
    return c10::ivalue::Tuple::createNamed(std::move(elements), std::move(type));
  return c10::ivalue::Tuple::create(std::move(elements));
}

}  // namespace ganglion

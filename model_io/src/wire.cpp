#include "wire.hpp"

#include <ATen/core/function_schema.h>
#include <fmt/format.h>

#include <optional>

namespace ganglion {

namespace {

/// Part of the wire format: append, never renumber.
enum class type_code : std::uint8_t {
  any,
  tensor,
  integer,
  real,
  boolean,
  string,
  none,
  complex,
  number,
  optional,
  list,
  dict,
  tuple,
  named_tuple,
};

std::optional<type_code> code_of(const c10::Type& type) {
  switch (type.kind()) {
    case c10::TypeKind::AnyType: return type_code::any;
    case c10::TypeKind::TensorType: return type_code::tensor;
    case c10::TypeKind::IntType: return type_code::integer;
    case c10::TypeKind::FloatType: return type_code::real;
    case c10::TypeKind::BoolType: return type_code::boolean;
    case c10::TypeKind::StringType: return type_code::string;
    case c10::TypeKind::NoneType: return type_code::none;
    case c10::TypeKind::ComplexType: return type_code::complex;
    case c10::TypeKind::NumberType: return type_code::number;
    case c10::TypeKind::OptionalType: return type_code::optional;
    case c10::TypeKind::ListType: return type_code::list;
    case c10::TypeKind::DictType: return type_code::dict;
    case c10::TypeKind::TupleType: {
      const auto& tuple = type.expectRef<c10::TupleType>();
      return tuple.schema() && tuple.name() ? type_code::named_tuple : type_code::tuple;
    }
    default: return {};
  }
}

/// What LibTorch takes for a name: no empty part between dots, and no dot at all where a path is not meant.
bool is_name(std::string_view text, bool dotted) {
  char before = '.';
  for (char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || (c == '.' && (!dotted || before == '.'))) return false;
    before = c;
  }
  return before != '.';
}

bool is_key_type(const c10::Type& type) {
  return type.kind() == c10::TypeKind::StringType || type.kind() == c10::TypeKind::IntType;
}

void put_type_name(wire_writer& out, const c10::TupleType& type) {
  out.put_string(type.name()->qualifiedName());
  for (const c10::Argument& field : type.schema()->arguments()) out.put_string(field.name());
}

std::vector<c10::TypePtr> get_types(wire_reader& in, std::size_t count, int depth) {
  std::vector<c10::TypePtr> types;
  for (std::size_t i = 0; i < count && in.ok(); ++i) types.push_back(get_type(in, depth));
  return types;
}

c10::TypePtr get_named_tuple_type(wire_reader& in, int depth) {
  auto count = in.get_count();
  auto name = in.get_string();
  if (!is_name(name, true)) in.fail("the name of a named tuple is malformed");
  std::vector<std::string> fields;
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    fields.push_back(in.get_string());
    if (!is_name(fields.back(), false)) in.fail("the name of a named tuple's field is malformed");
  }
  auto types = get_types(in, count, depth);
  if (!in.ok()) return c10::AnyType::get();
  return c10::TupleType::createNamed(c10::QualifiedName(name), fields, types);
}

}  // namespace

void put_type(wire_writer& out, const c10::TypePtr& type, int depth) {
  auto code = code_of(*type);
  if (!code)
    return out.fail(fmt::format("a container of {} has no place on the wire", type->annotation_str()));
  if (depth >= max_wire_depth) return out.fail(fmt::format("its types nest deeper than {}", max_wire_depth));
  out.put(*code);
  if (*code == type_code::optional)
    return put_type(out, type->expectRef<c10::OptionalType>().getElementType(), depth + 1);
  if (*code < type_code::list) return;
  if (*code == type_code::dict) {
    const auto& dict = type->expectRef<c10::DictType>();
    return put_dict_types(out, dict.getKeyType(), dict.getValueType(), depth + 1);
  }
  auto contained = type->containedTypes();
  if (*code >= type_code::tuple) out.put(static_cast<std::uint64_t>(contained.size()));
  if (*code == type_code::named_tuple) put_type_name(out, type->expectRef<c10::TupleType>());
  for (const c10::TypePtr& part : contained) put_type(out, part, depth + 1);
}

c10::TypePtr get_type(wire_reader& in, int depth) {
  if (depth >= max_wire_depth) in.fail(fmt::format("its types nest deeper than {}", max_wire_depth));
  auto code = in.get<type_code>();
  if (!in.ok()) return c10::AnyType::get();
  switch (code) {
    case type_code::any: return c10::AnyType::get();
    case type_code::tensor: return c10::TensorType::get();
    case type_code::integer: return c10::IntType::get();
    case type_code::real: return c10::FloatType::get();
    case type_code::boolean: return c10::BoolType::get();
    case type_code::string: return c10::StringType::get();
    case type_code::none: return c10::NoneType::get();
    case type_code::complex: return c10::ComplexType::get();
    case type_code::number: return c10::NumberType::get();
    case type_code::optional: return c10::OptionalType::create(get_type(in, depth + 1));
    case type_code::list: return c10::ListType::create(get_type(in, depth + 1));
    case type_code::dict: {
      auto [key, value] = get_dict_types(in, depth + 1);
      return in.ok() ? c10::TypePtr(c10::DictType::create(key, value)) : c10::AnyType::get();
    }
    case type_code::tuple: return c10::TupleType::create(get_types(in, in.get_count(), depth + 1));
    case type_code::named_tuple: return get_named_tuple_type(in, depth + 1);
  }
  in.fail(fmt::format("{} is no type's number", static_cast<int>(code)));
  return c10::AnyType::get();
}

void put_dict_types(wire_writer& out, const c10::TypePtr& key, const c10::TypePtr& value, int depth) {
  if (!is_key_type(*key))
    return out.fail(fmt::format(
        "a dict with keys of type {} has no place on the wire: only strings and ints are keys there",
        key->annotation_str()));
  put_type(out, key, depth);
  put_type(out, value, depth);
}

std::pair<c10::TypePtr, c10::TypePtr> get_dict_types(wire_reader& in, int depth) {
  auto key = get_type(in, depth);
  auto value = get_type(in, depth);
  if (in.ok() && !is_key_type(*key)) in.fail("a dict's keys are neither strings nor ints");
  return {std::move(key), std::move(value)};
}

}  // namespace ganglion

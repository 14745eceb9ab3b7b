#include <ganglion/model_io/signature.hpp>

#include "json_problem.hpp"
#include "placeholders.hpp"
#include "raw_tensor.hpp"
#include "signature_json.hpp"
#include "value_kinds.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <charconv>
#include <stdexcept>

namespace ganglion {

namespace json = boost::json;

namespace {

constexpr std::int64_t signature_version = 1;

// --- writing ---------------------------------------------------------------------------------------------

// As text, since JSON has neither an infinity nor a NaN; the shortest form that reads back the same.
json::string float_text(double value) { return json::string{fmt::format("{}", value)}; }

template <class List, class Convert>
json::array array_of(const List& list, Convert convert) {
  json::array array;
  for (std::size_t i = 0; i < list.size(); ++i) array.emplace_back(convert(list[i]));
  return array;
}

json::object write_tensor(const at::Tensor& tensor) {
  return {{"dtype", dtype_name(tensor.scalar_type())},
          {"shape", json::array(tensor.sizes().begin(), tensor.sizes().end())}};
}

json::object write_leaf(const c10::IValue& value) {
  if (value.isTensor()) return {{"tensor", write_tensor(value.toTensor())}};
  if (value.isNone()) return {{"none", nullptr}};
  if (value.isBool()) return {{"bool", value.toBool()}};
  if (value.isInt()) return {{"int", value.toInt()}};
  if (value.isDouble()) return {{"float", float_text(value.toDouble())}};
  if (value.isString()) return {{"string", value.toStringRef()}};
  const auto elements = value.toListRef();
  if (value.isIntList()) return {{"ints", array_of(elements, [](const auto& e) { return e.toInt(); })}};
  if (value.isBoolList()) return {{"bools", array_of(elements, [](const auto& e) { return e.toBool(); })}};
  if (value.isDoubleList())
    return {{"floats", array_of(elements, [](const auto& e) { return float_text(e.toDouble()); })}};
  return {{"strings", array_of(elements, [](const auto& e) { return json::string{e.toStringRef()}; })}};
}

json::object write(const c10::IValue& tree) {
  switch (node_kind_of(tree)) {
    case node_kind::leaf:
      break;
    case node_kind::tuple:
      return {{"tuple", array_of(tree.toTupleRef().elements(), write)}};
    case node_kind::list:
      return {{"list", array_of(tree.toListRef(), write)}};
    case node_kind::dict: {
      json::array entries;
      for (const auto& entry : tree.toGenericDict())
        entries.push_back(json::array{write(entry.key()), write(entry.value())});
      return {{"dict", std::move(entries)}};
    }
  }
  return write_leaf(tree);
}

// --- reading ---------------------------------------------------------------------------------------------

struct unreadable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

double read_float(const json::value& value) {
  const std::string_view text = value.as_string();
  double number = 0;
  const auto end = text.data() + text.size();
  if (const auto done = std::from_chars(text.data(), end, number); done.ec != std::errc{} || done.ptr != end)
    throw unreadable{fmt::format("\"{}\" is no number", text)};
  return number;
}

at::Tensor read_tensor(const json::object& tensor) {
  const std::string_view name = tensor.at("dtype").as_string();
  const auto shape = json::value_to<std::vector<std::int64_t>>(tensor.at("shape"));
  for (int i = 0; i < static_cast<int>(at::ScalarType::NumOptions); ++i)
    if (const auto dtype = static_cast<at::ScalarType>(i);
        dtype != at::ScalarType::Undefined && dtype_name(dtype) == name) {
      if (!raw_bytes(dtype, shape)) throw unreadable{"a tensor with impossible sizes"};
      return placeholder(dtype, shape);
    }
  throw unreadable{fmt::format("\"{}\" is no element type", name)};
}

/// The declared type of a container, seen through Optional and Union; null where forward declares something
/// wider.
template <class Container>
std::shared_ptr<Container> container_type(const c10::TypePtr& declared) {
  if (!declared) return nullptr;
  if (auto type = declared->cast<Container>()) return type;
  if (auto optional = declared->cast<c10::OptionalType>())
    return container_type<Container>(optional->getElementType());
  if (auto choice = declared->cast<c10::UnionType>())
    for (const auto& member : choice->containedTypes())
      if (auto type = container_type<Container>(member)) return type;
  return nullptr;
}

/// One type for the elements of a container whose declared type says nothing.
c10::TypePtr common_type(const std::vector<c10::IValue>& elements) {
  if (elements.empty()) return c10::TensorType::get();
  for (const auto& element : elements)
    if (element.tagKind() != elements[0].tagKind()) return c10::AnyType::get();
  return elements[0].isTensor() ? c10::TensorType::get() : elements[0].type();
}

c10::IValue read(const json::value& value, const c10::TypePtr& declared);

c10::IValue read_tuple(const json::array& values, const c10::TypePtr& declared) {
  auto type = container_type<c10::TupleType>(declared);
  if (type && type->elements().size() != values.size()) type = nullptr;
  std::vector<c10::IValue> elements;
  for (std::size_t i = 0; i < values.size(); ++i)
    elements.push_back(read(values[i], type ? type->elements()[i] : nullptr));
  if (type && type->schema() && type->name())
    return c10::ivalue::Tuple::createNamed(std::move(elements), type);
  return c10::ivalue::Tuple::create(std::move(elements));
}

c10::IValue read_list(const json::array& values, const c10::TypePtr& declared) {
  const auto type = container_type<c10::ListType>(declared);
  std::vector<c10::IValue> elements;
  for (const auto& value : values) elements.push_back(read(value, type ? type->getElementType() : nullptr));
  c10::impl::GenericList list{type ? type->getElementType() : common_type(elements)};
  for (auto& element : elements) list.push_back(std::move(element));
  return list;
}

c10::IValue read_dict(const json::array& entries, const c10::TypePtr& declared) {
  const auto type = container_type<c10::DictType>(declared);
  std::vector<c10::IValue> keys, values;
  for (const auto& entry : entries) {
    keys.push_back(read(entry.at(0), nullptr));
    values.push_back(read(entry.at(1), type ? type->getValueType() : nullptr));
  }
  c10::impl::GenericDict dict{type           ? type->getKeyType()
                              : keys.empty() ? c10::StringType::get()
                                             : common_type(keys),
                              type ? type->getValueType() : common_type(values)};
  for (std::size_t i = 0; i < keys.size(); ++i)
    dict.insert_or_assign(std::move(keys[i]), std::move(values[i]));
  return dict;
}

template <class T, class Convert>
c10::IValue leaf_list(const json::value& values, Convert convert) {
  c10::List<T> list;
  for (const auto& value : values.as_array()) list.push_back(convert(value));
  return list;
}

std::string read_string(const json::value& value) { return std::string{std::string_view{value.as_string()}}; }

c10::IValue read(const json::value& node, const c10::TypePtr& declared) {
  const auto& object = node.as_object();
  if (object.size() != 1) throw unreadable{fmt::format("a value with {} kinds", object.size())};
  const std::string_view kind = object.begin()->key();
  const auto& value = object.begin()->value();
  if (kind == "tensor") return read_tensor(value.as_object());
  if (kind == "tuple") return read_tuple(value.as_array(), declared);
  if (kind == "list") return read_list(value.as_array(), declared);
  if (kind == "dict") return read_dict(value.as_array(), declared);
  if (kind == "none") return {};
  if (kind == "bool") return value.as_bool();
  if (kind == "int") return value.to_number<std::int64_t>();
  if (kind == "float") return read_float(value);
  if (kind == "string") return read_string(value);
  if (kind == "ints")
    return leaf_list<std::int64_t>(value, [](const auto& v) { return v.template to_number<std::int64_t>(); });
  if (kind == "bools") return leaf_list<bool>(value, [](const auto& v) { return v.as_bool(); });
  if (kind == "floats") return leaf_list<double>(value, read_float);
  if (kind == "strings") return leaf_list<std::string>(value, read_string);
  throw unreadable{fmt::format("\"{}\" is no kind of value", kind)};
}

json::object parse_object(const std::string& text) {
  json::parse_options options;
  options.max_depth = 256;
  return json::parse(text, {}, options).as_object();
}

failure not_readable(const std::exception& e) {
  return {errc::model_load_failed, fmt::format("its signature cannot be read: {}", json_problem(e))};
}

json::object object_of(const signature& sig) {
  json::array arguments, ranges;
  for (std::size_t i = 0; i < sig.example.size(); ++i)
    arguments.push_back({{"name", sig.argument_names[i]}, {"value", write(sig.example[i])}});
  for (const auto& range : sig.ranges)
    ranges.push_back({{"low", float_text(range.low)},
                      {"high", float_text(range.high)},
                      {"mean", float_text(range.mean)},
                      {"deviation", float_text(range.deviation)}});
  return {{"version", signature_version},
          {"arguments", std::move(arguments)},
          {"ranges", std::move(ranges)},
          {"result", write(sig.result)},
          {"not_eligible", sig.not_eligible},
          {"writes_inputs", sig.writes_inputs},
          {"pipeline_cores", sig.pipeline_cores}};
}

signature read_signature(const json::object& root, const std::vector<c10::TypePtr>& types,
                         const c10::TypePtr& result_type) {
  signature sig;
  const auto& arguments = root.at("arguments").as_array();
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    sig.argument_names.push_back(read_string(arguments[i].at("name")));
    sig.example.push_back(read(arguments[i].at("value"), i < types.size() ? types[i] : nullptr));
  }
  sig.result = read(root.at("result"), result_type);
  name_tensors(sig);
  for (const auto& range : root.at("ranges").as_array())
    sig.ranges.push_back({read_float(range.at("low")), read_float(range.at("high")),
                          read_float(range.at("mean")), read_float(range.at("deviation"))});
  if (sig.ranges.size() != sig.inputs.size())
    throw unreadable{fmt::format("{} ranges for {} tensors", sig.ranges.size(), sig.inputs.size())};
  sig.not_eligible = read_string(root.at("not_eligible"));
  sig.writes_inputs = root.at("writes_inputs").as_bool();
  sig.pipeline_cores = root.at("pipeline_cores").to_number<std::int64_t>();
  return sig;
}

}  // namespace

bool is_storable(const c10::IValue& leaf) {
  return leaf.isTensor() || leaf.isNone() || leaf.isBool() || leaf.isInt() || leaf.isDouble() ||
         leaf.isString() || (leaf.isList() && !leaf.isComplexDoubleList());
}

std::string_view cast_name(auto_cast cast) { return cast == auto_cast::bf16 ? "bf16" : "none"; }

auto_cast cast_from_name(std::string_view name) {
  for (const auto cast : {auto_cast::none, auto_cast::bf16})
    if (name == cast_name(cast)) return cast;
  throw unreadable{fmt::format("the auto_cast \"{}\" is unknown", name)};
}

std::string to_json(const signature& sig) { return json::serialize(object_of(sig)); }

std::string attribute_text(const std::vector<compiled_program>& programs, auto_cast cast) {
  auto root = object_of(programs.front().signature);
  if (cast != auto_cast::none) root["auto_cast"] = cast_name(cast);
  if (programs.size() > 1) {
    json::array more;
    for (std::size_t i = 1; i < programs.size(); ++i) more.push_back(object_of(programs[i].signature));
    root["more_programs"] = std::move(more);
  }
  return json::serialize(root);
}

expected<std::vector<signature>> signatures_from_attribute(const std::string& text,
                                                           const std::vector<c10::TypePtr>& types,
                                                           const c10::TypePtr& result_type) {
  auto first = signature_from_json(text, types, result_type);
  if (!first) return first.error();
  std::vector<signature> all{std::move(*first)};
  try {
    const auto root = parse_object(text);
    if (const auto* more = root.if_contains("more_programs"))
      for (const auto& object : more->as_array()) all.push_back(read_signature(object.as_object(), types, result_type));
  } catch (const std::exception& e) {
    return not_readable(e);
  }
  return all;
}

expected<auto_cast> cast_from_attribute(const std::string& text) {
  try {
    const auto root = parse_object(text);
    const auto* name = root.if_contains("auto_cast");
    return name ? cast_from_name(name->as_string()) : auto_cast::none;
  } catch (const std::exception& e) {
    return not_readable(e);
  }
}

expected<signature> signature_from_json(const std::string& text, const std::vector<c10::TypePtr>& types,
                                        const c10::TypePtr& result_type) {
  try {
    const auto root = parse_object(text);
    if (const auto version = root.at("version").to_number<std::int64_t>(); version != signature_version)
      return failure{errc::model_load_failed,
                     fmt::format("its signature has version {}, but this Ganglion reads version {}", version,
                                 signature_version)};
    return read_signature(root, types, result_type);
  } catch (const std::exception& e) {
    return not_readable(e);
  }
}

}  // namespace ganglion

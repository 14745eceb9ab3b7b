#include <ganglion/model_io/value_tree.hpp>

#include "raw_tensor.hpp"
#include "value_kinds.hpp"
#include "wire.hpp"

#include <ganglion/model_io/tensor_spec.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace ganglion {

namespace {

constexpr std::uint8_t wire_version = 1;

/// Part of the wire format, as is the order of `wire_dtypes`: append, never renumber.
enum class node_code : std::uint8_t {
  none,
  integer,
  real,
  boolean,
  string,
  complex,
  tensor,
  undefined_tensor,
  tuple,
  named_tuple,
  list,
  dict,
};

constexpr std::array wire_dtypes{at::kFloat, at::kDouble, at::kHalf,         at::kBFloat16,
                                 at::kChar,  at::kShort,  at::kInt,          at::kLong,
                                 at::kByte,  at::kBool,   at::kComplexFloat, at::kComplexDouble};

void put_tensor(wire_writer& out, const at::Tensor& tensor) {
  auto dtype = std::find(wire_dtypes.begin(), wire_dtypes.end(), tensor.scalar_type());
  if (!tensor.device().is_cpu())
    return out.fail(
        fmt::format("a tensor on {} has no place on the wire: copy it to the CPU", tensor.device().str()));
  if (dtype == wire_dtypes.end() || tensor.layout() != at::kStrided)
    return out.fail(fmt::format("a {} tensor of {} has no place on the wire", c10::str(tensor.layout()),
                                dtype_name(tensor.scalar_type())));
  if (static_cast<std::size_t>(tensor.dim()) > max_rank)
    return out.fail(fmt::format("a tensor of {} dimensions has no place on the wire", tensor.dim()));
  auto whole = tensor.resolve_conj().resolve_neg().contiguous();
  out.put(static_cast<std::uint8_t>(dtype - wire_dtypes.begin()));
  out.put(static_cast<std::uint8_t>(whole.dim()));
  for (std::int64_t size : whole.sizes()) out.put(size);
  out.put_bytes({static_cast<const char*>(whole.data_ptr()), whole.nbytes()});
}

at::Tensor get_tensor(wire_reader& in) {
  auto dtype_index = in.get<std::uint8_t>();
  auto rank = in.get<std::uint8_t>();
  if (dtype_index >= wire_dtypes.size()) in.fail(fmt::format("{} is no element type's number", dtype_index));
  std::vector<std::int64_t> shape(in.ok() ? rank : 0);
  for (std::int64_t& size : shape) size = in.get<std::int64_t>();
  if (!in.ok()) return {};
  auto dtype = wire_dtypes[dtype_index];
  auto size = raw_bytes(dtype, shape);
  if (!size) in.fail(fmt::format("a tensor's sizes [{}] are impossible", fmt::join(shape, ",")));
  auto bytes = in.get_bytes(size.value_or(0));
  if (!in.ok()) return {};
  auto tensor = at::empty(shape, at::TensorOptions().dtype(dtype));
  auto* data = static_cast<char*>(tensor.data_ptr());
  std::copy(bytes.begin(), bytes.end(), data);
  if (dtype == at::kBool) tidy_bools(data, bytes.size());
  return tensor;
}

void put_value(wire_writer& out, const c10::IValue& value, int depth);

void put_leaf(wire_writer& out, const c10::IValue& value) {
  if (value.isTensor()) {
    if (!value.toTensor().defined()) return out.put(node_code::undefined_tensor);
    out.put(node_code::tensor);
    return put_tensor(out, value.toTensor());
  }
  if (value.isNone()) return out.put(node_code::none);
  if (value.isInt()) {
    out.put(node_code::integer);
    return out.put(value.toInt());
  }
  if (value.isDouble()) {
    out.put(node_code::real);
    return out.put(value.toDouble());
  }
  if (value.isBool()) {
    out.put(node_code::boolean);
    return out.put(static_cast<std::uint8_t>(value.toBool()));
  }
  if (value.isString()) {
    out.put(node_code::string);
    return out.put_string(value.toStringRef());
  }
  if (value.isComplexDouble()) {
    out.put(node_code::complex);
    out.put(value.toComplexDouble().real());
    return out.put(value.toComplexDouble().imag());
  }
  out.fail(fmt::format("{} has no place on the wire", describe(value)));
}

void put_value(wire_writer& out, const c10::IValue& value, int depth) {
  if (!out.ok()) return;
  if (depth >= max_wire_depth) return out.fail(fmt::format("it nests deeper than {}", max_wire_depth));
  if (value.isTuple()) {
    const auto& tuple = value.toTupleRef();
    auto type = named_type(tuple);
    out.put(type ? node_code::named_tuple : node_code::tuple);
    if (type) put_type(out, type, depth);
    out.put(static_cast<std::uint64_t>(tuple.size()));
    for (const c10::IValue& element : tuple.elements()) put_value(out, element, depth + 1);
  } else if (value.isList()) {
    auto elements = value.toListRef();
    out.put(node_code::list);
    put_type(out, value.toList().elementType(), depth);
    out.put(static_cast<std::uint64_t>(elements.size()));
    for (const c10::IValue& element : elements) put_value(out, element, depth + 1);
  } else if (value.isGenericDict()) {
    auto dict = value.toGenericDict();
    out.put(node_code::dict);
    put_dict_types(out, dict.keyType(), dict.valueType(), depth);
    out.put(static_cast<std::uint64_t>(dict.size()));
    for (const auto& entry : dict) {
      put_value(out, entry.key(), depth + 1);
      put_value(out, entry.value(), depth + 1);
    }
  } else {
    put_leaf(out, value);
  }
}

/// Whether a value may stand where a type is declared. Containers only by their kind: what they hold was
/// checked when they were read.
bool fits(const c10::IValue& value, const c10::Type& type) {
  switch (type.kind()) {
    case c10::TypeKind::AnyType: return true;
    case c10::TypeKind::TensorType: return value.isTensor();
    case c10::TypeKind::IntType: return value.isInt();
    case c10::TypeKind::FloatType: return value.isDouble();
    case c10::TypeKind::BoolType: return value.isBool();
    case c10::TypeKind::StringType: return value.isString();
    case c10::TypeKind::NoneType: return value.isNone();
    case c10::TypeKind::ComplexType: return value.isComplexDouble();
    case c10::TypeKind::NumberType: return value.isInt() || value.isDouble() || value.isComplexDouble();
    case c10::TypeKind::OptionalType:
      return value.isNone() || fits(value, *type.expectRef<c10::OptionalType>().getElementType());
    case c10::TypeKind::ListType: return value.isList();
    case c10::TypeKind::DictType: return value.isGenericDict();
    case c10::TypeKind::TupleType:
      return value.isTuple() &&
             value.toTupleRef().size() == type.expectRef<c10::TupleType>().elements().size();
    default: return false;
  }
}

c10::IValue get_value(wire_reader& in, int depth);

c10::IValue get_value_of(wire_reader& in, const c10::Type& type, int depth) {
  auto value = get_value(in, depth);
  if (in.ok() && !fits(value, type))
    in.fail(fmt::format("{} stands where {} is declared", describe(value), type.annotation_str()));
  return value;
}

c10::IValue get_tuple(wire_reader& in, int depth) {
  auto count = in.get_count();
  std::vector<c10::IValue> elements;
  for (std::size_t i = 0; i < count && in.ok(); ++i) elements.push_back(get_value(in, depth + 1));
  return c10::ivalue::Tuple::create(std::move(elements));
}

c10::IValue get_named_tuple(wire_reader& in, int depth) {
  auto type = get_type(in, depth)->cast<c10::TupleType>();
  auto count = in.get_count();
  std::vector<c10::IValue> elements;
  if (!type || !type->schema()) in.fail("a named tuple has no name");
  if (in.ok() && count != type->elements().size())
    in.fail("a named tuple has more or fewer elements than names");
  for (std::size_t i = 0; i < count && in.ok(); ++i)
    elements.push_back(get_value_of(in, *type->elements()[i], depth + 1));
  if (!in.ok()) return {};
  return c10::ivalue::Tuple::createNamed(std::move(elements), std::move(type));
}

c10::IValue get_list(wire_reader& in, int depth) {
  auto type = get_type(in, depth);
  auto count = in.get_count();
  c10::impl::GenericList list(type);
  for (std::size_t i = 0; i < count && in.ok(); ++i) list.push_back(get_value_of(in, *type, depth + 1));
  return list;
}

c10::IValue get_dict(wire_reader& in, int depth) {
  auto [key_type, value_type] = get_dict_types(in, depth);
  auto count = in.get_count();
  if (!in.ok()) return {};
  c10::impl::GenericDict dict(key_type, value_type);
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    auto key = get_value_of(in, *key_type, depth + 1);
    if (in.ok() && dict.contains(key)) in.fail(fmt::format("a dict has the key {} twice", leaf_text(key)));
    auto value = get_value_of(in, *value_type, depth + 1);
    if (in.ok()) dict.insert(std::move(key), std::move(value));
  }
  return dict;
}

c10::IValue get_value(wire_reader& in, int depth) {
  if (depth >= max_wire_depth) in.fail(fmt::format("it nests deeper than {}", max_wire_depth));
  auto code = in.get<node_code>();
  if (!in.ok()) return {};
  switch (code) {
    case node_code::none: return {};
    case node_code::integer: return in.get<std::int64_t>();
    case node_code::real: return in.get<double>();
    case node_code::boolean: return in.get<std::uint8_t>() != 0;
    case node_code::string: return in.get_string();
    case node_code::complex: {
      auto real = in.get<double>();
      return c10::complex<double>(real, in.get<double>());
    }
    case node_code::tensor: return get_tensor(in);
    case node_code::undefined_tensor: return at::Tensor();
    case node_code::tuple: return get_tuple(in, depth);
    case node_code::named_tuple: return get_named_tuple(in, depth);
    case node_code::list: return get_list(in, depth);
    case node_code::dict: return get_dict(in, depth);
  }
  in.fail(fmt::format("{} is no kind's number", static_cast<int>(code)));
  return {};
}

failure malformed(std::string_view why) {
  return {errc::invalid_argument, fmt::format("the bytes of a value are malformed: {}", why)};
}

}  // namespace

expected<std::vector<char>> encode_value(const c10::IValue& tree) {
  wire_writer out;
  out.put(wire_version);
  put_value(out, tree, 0);
  if (!out.ok())
    return failure{errc::invalid_argument, fmt::format("the value cannot be sent: {}", out.why())};
  return out.take();
}

expected<c10::IValue> decode_value(std::span<const char> bytes) try {
  wire_reader in(bytes);
  auto version = in.get<std::uint8_t>();
  if (in.ok() && version != wire_version)
    in.fail(fmt::format("they are of version {}, but this program reads version {}", version, wire_version));
  auto value = get_value(in, 0);
  if (in.ok() && in.remaining() > 0) in.fail(fmt::format("{} bytes follow the value", in.remaining()));
  if (!in.ok()) return malformed(in.why());
  return value;
} catch (const std::exception&) {
  return malformed("LibTorch refuses a type or a size in them");
}

}  // namespace ganglion

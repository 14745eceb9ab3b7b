#include "values.hpp"

#include "errors.hpp"
#include "kept.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <fmt/format.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/jit/python/pybind_utils.h>

#include <string_view>

namespace py = pybind11;
namespace jit = torch::jit;

namespace ganglion::python {

namespace {

std::string type_name(py::handle value) { return py::str(py::type::of(value).attr("__name__")); }

[[noreturn]] void refuse(py::handle value, const std::string& where) {
  if (PyLong_Check(value.ptr()))
    throw error(
        errc::invalid_argument,
        fmt::format("{} is an int that no model takes: give one of 64 bits, or where it stands for a float, one "
                    "below 1.8e308",
                    where));
  if (PyUnicode_Check(value.ptr()))
    throw error(errc::invalid_argument,
                fmt::format("{} is the str {}, which is no text in UTF-8: give one without surrogates", where,
                            std::string(py::str(py::module_::import("builtins").attr("ascii")(value)))));
  refuse_type(
      fmt::format("{} is a {}: tensors, numbers, strings, None, and tuples, lists and dicts of such are what a "
                  "model takes",
                  where, type_name(value)));
}

/// How deep containers may be in each other. All that reads them goes down by recursion, LibTorch's functions too.
constexpr int deepest = 64;

/// Also refuses what contains itself.
void refuse_deep(py::handle given, const std::string& where, int depth = 0) {
  const auto into = [&](py::handle inner) { refuse_deep(inner, where, depth + 1); };
  if (depth > deepest)
    refuse_type(fmt::format("{} has more than {} containers in each other, or contains itself: give a flatter value",
                            where, deepest));
  if (PyTuple_Check(given.ptr()) || PyList_Check(given.ptr()))
    for (const auto element : py::reinterpret_borrow<py::sequence>(given)) into(element);
  else if (PyDict_Check(given.ptr()))
    for (const auto [key, value] : py::reinterpret_borrow<py::dict>(given)) into(value);
}

/// A NumPy scalar as Python's own value; all else as it is.
py::object without_numpy(py::handle given) {
  if (std::string_view(Py_TYPE(given.ptr())->tp_name).starts_with("numpy.") &&
      py::isinstance(given, py::module_::import("numpy").attr("generic")))
    return given.attr("item")();
  return py::reinterpret_borrow<py::object>(given);
}

double as_double(py::handle given, const std::string& where) {
  const double value = PyLong_AsDouble(given.ptr());
  if (value == -1.0 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    refuse(given, where);
  }
  return value;
}

bool is_leaf_list(const c10::IValue& example) {
  return example.isList() && leaves_of(example).size() == 1 && leaves_of(example)[0].value.isList();
}

class reader {
 public:
  c10::IValue read(py::handle value, const c10::IValue& example, const std::string& where) const {
    const auto given = without_numpy(value);
    if (THPVariable_Check(given.ptr())) return lent(THPVariable_Unpack(given.ptr()), where);
    if (example.isTuple() && py::isinstance<py::tuple>(given))
      return tuple(py::reinterpret_borrow<py::tuple>(given), example, where);
    if (example.isList() && py::isinstance<py::list>(given)) return list(given, example, where);
    if (example.isGenericDict() && py::isinstance<py::dict>(given))
      return dict(py::reinterpret_borrow<py::dict>(given), example.toGenericDict(), where);
    if (example.isDouble() && PyLong_Check(given.ptr()) && !PyBool_Check(given.ptr())) return as_double(given, where);
    return by_itself(given, where);
  }

  /// Without an example: the next error speaks of what was given.
  c10::IValue by_itself(py::handle value, const std::string& where) const {
    const auto given = without_numpy(value);
    if (given.is_none()) return {};
    if (PyBool_Check(given.ptr())) return py::cast<bool>(given);
    if (THPVariable_Check(given.ptr())) return lent(THPVariable_Unpack(given.ptr()), where);
    if (py::isinstance<py::tuple>(given)) {
      std::vector<c10::IValue> elements;
      for (auto element : py::reinterpret_borrow<py::tuple>(given))
        elements.push_back(by_itself(element, fmt::format("{}[{}]", where, elements.size())));
      return c10::ivalue::Tuple::create(std::move(elements));
    }
    try {
      if (auto type = jit::tryToInferType(given); type.success()) return jit::toIValue(given, type.type());
    } catch (const std::exception&) {
      // Not all that is inferred can be converted.
    }
    if (py::isinstance<py::list>(given)) return any_list(given, where);
    if (py::isinstance<py::dict>(given)) return any_dict(given, where);
    refuse(given, where);
  }

 private:
  c10::IValue tuple(const py::tuple& given, const c10::IValue& example, const std::string& where) const {
    const auto& wanted = example.toTupleRef().elements();
    if (given.size() != wanted.size()) return by_itself(given, where);
    std::vector<c10::IValue> elements;
    elements.reserve(given.size());
    for (std::size_t i = 0; i < given.size(); ++i)
      elements.push_back(read(given[i], wanted[i], fmt::format("{}[{}]", where, i)));
    return c10::ivalue::Tuple::create(std::move(elements));
  }

  c10::IValue list(py::handle given, const c10::IValue& example, const std::string& where) const {
    const auto elements = py::reinterpret_borrow<py::list>(given);
    const auto type = example.toList().elementType();
    if (is_leaf_list(example)) {
      try {
        return jit::toIValue(given, c10::ListType::create(type));
      } catch (const std::exception&) {
        return by_itself(given, where);
      }
    }
    const auto wanted = example.toListRef();
    if (elements.size() != wanted.size()) return by_itself(given, where);
    c10::impl::GenericList result(type);
    for (std::size_t i = 0; i < elements.size(); ++i)
      result.push_back(read(elements[i], wanted[i], fmt::format("{}[{}]", where, i)));
    return result;
  }

  /// Lists and dicts of different things, which TorchScript has no type for: the engine says what it wanted
  /// instead.
  c10::IValue any_list(py::handle given, const std::string& where) const {
    c10::impl::GenericList result(c10::AnyType::get());
    for (auto element : py::reinterpret_borrow<py::list>(given))
      result.push_back(by_itself(element, fmt::format("{}[{}]", where, result.size())));
    return result;
  }

  c10::IValue any_dict(py::handle given, const std::string& where) const {
    c10::impl::GenericDict result(c10::StringType::get(), c10::AnyType::get());
    for (auto [key, value] : py::reinterpret_borrow<py::dict>(given))
      result.insert(std::string(py::str(key)),
                    by_itself(value, fmt::format("{}[{}]", where, std::string(py::repr(key)))));
    return result;
  }

  c10::IValue dict(const py::dict& given, const c10::impl::GenericDict& example, const std::string& where) const {
    c10::impl::GenericDict result(example.keyType(), example.valueType());
    for (const auto& entry : example) {
      const auto key = jit::toPyObject(entry.key());
      if (given.size() != example.size() || !given.contains(key)) return by_itself(given, where);
      result.insert(entry.key(), read(given[key], entry.value(), fmt::format("{}[{}]", where, leaf_text(entry.key()))));
    }
    return result;
  }
};

}  // namespace

std::vector<c10::IValue> arguments_for(const signature& sig, const py::tuple& given) {
  std::vector<c10::IValue> arguments;
  arguments.reserve(given.size());
  for (std::size_t i = 0; i < given.size(); ++i) {
    const auto value = given[i];
    const auto known = i < sig.example.size();
    const auto name = known ? sig.argument_names[i] : fmt::format("argument {}", i);
    if (THPVariable_Check(value.ptr())) {
      arguments.emplace_back(lent(THPVariable_Unpack(value.ptr()), name));
      continue;
    }
    refuse_deep(value, name);
    arguments.push_back(known ? reader{}.read(value, sig.example[i], name) : reader{}.by_itself(value, name));
  }
  return arguments;
}

std::vector<c10::IValue> example_for(const c10::FunctionSchema& forward, const py::tuple& given) {
  std::vector<c10::IValue> example;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const auto known = i + 1 < forward.arguments().size();
    const auto name = known ? forward.arguments()[i + 1].name() : fmt::format("argument {}", i);
    refuse_deep(given[i], name);
    try {
      example.push_back(known ? jit::toIValue(given[i], forward.arguments()[i + 1].type())
                              : reader{}.by_itself(given[i], name));
    } catch (const std::exception& e) {
      refuse_type(fmt::format("the example's {} is a {}, but forward takes {}", name, type_name(given[i]),
                              known ? forward.arguments()[i + 1].type()->annotation_str() : "no such argument"));
    }
  }
  return example;
}

py::object to_python(c10::IValue value) { return jit::toPyObject(std::move(value)); }

}  // namespace ganglion::python

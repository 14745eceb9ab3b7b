#include "errors.hpp"

namespace py = pybind11;

namespace ganglion::python {

namespace {

/// A wrong type is no code of the engine's own: Python alone can give it.
struct wrong_type : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Fetched when the module is made, and kept: once the interpreter is ending nothing can be imported.
py::object exception_maker() {
  static auto* const kept = new py::object(py::module_::import("torch_neuron.errors").attr("_make"));
  return *kept;
}

py::object made(std::string_view code, const failure& f, bool retryable) {
  return exception_maker()(code, f.text, retryable, f.first_row, f.last_row, f.core);
}

void raise(const py::object& exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
}

}  // namespace

py::object exception_for(const failure& f) { return made(to_string(f.code), f, retryable(f.code)); }

void refuse_type(const std::string& sentence) { throw wrong_type(sentence); }

void translate_errors() {
  exception_maker();
  py::register_exception_translator([](std::exception_ptr thrown) {
    if (!thrown) return;
    try {
      std::rethrow_exception(thrown);
    } catch (const error& e) {
      raise(exception_for(e.failure()));
    } catch (const wrong_type& e) {
      raise(made("wrong_type", {errc::invalid_argument, e.what()}, false));
    }
  });
}

}  // namespace ganglion::python

#include "parallel.hpp"

#include "bindings.hpp"
#include "completions.hpp"
#include "errors.hpp"
#include "host.hpp"
#include "kept.hpp"
#include "lifetime.hpp"
#include "parallel_options.hpp"
#include "values.hpp"
#include "waiting.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <new>
#include <set>

namespace py = pybind11;

namespace ganglion::python {

namespace {

/// Those that are there. Read and written with the GIL.
std::set<const parallel*>& everyone() {
  static auto* const all = new std::set<const parallel*>;
  return *all;
}

}  // namespace

parallel::listed::listed(const parallel* p) : who(p) { everyone().insert(who); }

parallel::listed::~listed() { everyone().erase(who); }

bool parallel::warned_of(const std::string& sentence) const {
  if (!inner_) return false;
  const auto all = inner_->warnings();
  return std::find(all.begin(), all.end(), sentence) != all.end();
}

bool parallel::is_anothers(const std::string& warning, const parallel* own) {
  if (own != nullptr && own->warned_of(warning)) return false;
  return std::any_of(everyone().begin(), everyone().end(), [&](const parallel* p) { return p->warned_of(warning); });
}

parallel::parallel(compiled_model model, const py::dict& options) {
  refuse_engine_thread("DataParallel()");
  auto wanted = parallel_options_from(options);
  auto& on = host();
  std::shared_ptr<data_parallel> made;
  {
    const without_gil others_run;
    made = std::make_shared<data_parallel>(data_parallel::begin_loading(on, std::move(model), std::move(wanted)));
  }
  inner_ = std::move(made);
}

void parallel::wait_until_ready() const {
  const auto ready = held()->ready();
  wait(ready, [] {});
  ready.get();
}

parallel::~parallel() {
  if (must_leak())
    static_cast<void>(new (std::nothrow) std::shared_ptr<data_parallel>(std::move(inner_)));
  else
    close();
}

std::shared_ptr<data_parallel> parallel::held() const {
  require_usable();
  if (!inner_) throw error(errc::draining, "this DataParallel was closed: make another one");
  return inner_;
}

py::object parallel::call(const py::tuple& arguments) {
  const auto target = held();
  refuse_engine_thread("a DataParallel");
  auto inputs = arguments_for(target->model().signature(), arguments);
  request_handle request;
  request_options options;
  options.stop = request.token();
  std::future<response> future;
  {
    const without_gil others_run;
    future = target->submit(std::move(inputs), std::move(options));
    future.wait_for(between_signals);
  }
  wait(future, [&] { request.cancel(); });
  release_kept();
  say_what_was_logged(py::none(), this);
  return to_python(std::move(future.get().outputs));
}

request_handle parallel::submit(const py::tuple& arguments, py::object future, const request_wish& wish) {
  const auto target = held();
  release_kept();
  auto options = wish.options();
  auto inputs = arguments_for(target->model().signature(), arguments);
  request_handle request;
  options.stop = request.token();
  auto tell = completions::process_wide().teller(std::move(future));
  const without_gil others_run;
  target->start(std::move(inputs), std::move(options), std::move(tell));
  return request;
}

void parallel::disable_dynamic_batching() { held()->disable_dynamic_batching(); }

void parallel::num_workers(std::int64_t n) { held()->num_workers(checked_workers(n)); }

void parallel::split_size(std::optional<std::int64_t> rows) {
  if (rows)
    held()->split_size(*rows);
  else
    held()->split_size(std::nullopt);
}

void parallel::replace(compiled_model model) {
  const auto target = held();
  refuse_engine_thread("replace()");
  std::shared_future<void> done;
  {
    const without_gil others_run;
    done = target->begin_replacing(std::move(model));
  }
  wait(done, [] {});
  done.get();
  say_what_was_logged(py::none(), this);
}

void parallel::close() {
  if (!inner_ || must_leak()) return;
  auto last = std::exchange(inner_, nullptr);  // with the GIL, as everybody who looks at it
  const without_gil others_run;
  last.reset();
}

void bind_parallel(py::module_& m) {
  using size_getter = std::size_t (parallel::*)() const;
  using setter = void (parallel::*)(std::int64_t);
  using rows_getter = std::optional<std::int64_t> (parallel::*)() const;
  using rows_setter = void (parallel::*)(std::optional<std::int64_t>);
  py::class_<request_handle>(m, "Request").def("cancel", &request_handle::cancel);
  py::class_<parallel>(m, "Parallel")
      .def(py::init([](compiled_model model, const py::dict& options) {
             auto made = std::make_unique<parallel>(std::move(model), options);
             made->wait_until_ready();
             return made;
           }),
           py::arg("model"), py::arg("options"))
      .def("call", &parallel::call)
      .def(
          "submit",
          [](parallel& p, const py::tuple& arguments, py::object future, std::optional<double> timeout,
             std::string priority, std::string tenant) {
            return p.submit(arguments, std::move(future), {timeout, std::move(priority), std::move(tenant)});
          },
          py::arg("arguments"), py::arg("future"), py::arg("timeout"), py::arg("priority"), py::arg("tenant"))
      .def("replace", &parallel::replace, py::arg("model"))
      .def("disable_dynamic_batching", &parallel::disable_dynamic_batching)
      .def_property_readonly("dynamic_batching", &parallel::dynamic_batching)
      .def_property("num_workers", static_cast<size_getter>(&parallel::num_workers),
                    static_cast<setter>(&parallel::num_workers))
      .def_property("split_size", static_cast<rows_getter>(&parallel::split_size),
                    static_cast<rows_setter>(&parallel::split_size))
      .def_property_readonly("warnings", &parallel::warnings)
      .def_property_readonly("cores", &parallel::cores)
      .def_property_readonly("closed", &parallel::closed)
      .def("close", &parallel::close);
  m.def("say_what_was_logged", &say_what_was_logged, py::arg("place") = py::none(), py::arg("own") = nullptr);
}

}  // namespace ganglion::python

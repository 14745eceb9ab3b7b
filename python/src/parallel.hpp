#pragma once

#include "request_handle.hpp"

#include <ganglion/engine/data_parallel.hpp>

#include <pybind11/pybind11.h>

#include <memory>

namespace ganglion::python {

/// A data_parallel as Python holds it: calls may be running while it is closed or collected.
class parallel {
 public:
  /// Begins to load. See `parallel_options_from`.
  parallel(compiled_model model, const pybind11::dict& options);
  ~parallel();

  /// Throws why it could not be loaded. Ctrl-C ends the wait.
  void wait_until_ready() const;

  /// Runs forward(*arguments) and waits, other Python threads running. Ctrl-C ends the wait and cancels the request.
  pybind11::object call(const pybind11::tuple& arguments);
  /// Does not wait: `future` is told the answer or the exception, see `completions`.
  request_handle submit(const pybind11::tuple& arguments, pybind11::object future, const request_wish& wish);

  /// Puts another model in the place of this one, and waits until it serves. Ctrl-C ends the wait and nothing else.
  void replace(compiled_model model);

  void disable_dynamic_batching();
  bool dynamic_batching() const { return held()->dynamic_batching(); }
  void num_workers(std::int64_t n);
  std::size_t num_workers() const { return held()->num_workers(); }
  /// None: as where it was never set.
  void split_size(std::optional<std::int64_t> rows);
  std::optional<std::int64_t> split_size() const { return held()->split_size(); }
  std::vector<std::string> warnings() const { return held()->warnings(); }
  std::vector<std::size_t> cores() const { return held()->cores(); }

  /// Whether another one than `own` is there that warned of this, and `own` did not.
  static bool is_anothers(const std::string& warning, const parallel* own);

  /// Gives the cores back. What was accepted is still answered.
  void close();
  bool closed() const { return !inner_; }

 private:
  /// Refuses a closed one, and one that cannot work here.
  std::shared_ptr<data_parallel> held() const;
  bool warned_of(const std::string& sentence) const;

  /// Lists it among those that are there.
  struct listed {
    explicit listed(const parallel* p);
    ~listed();
    listed(const listed&) = delete;
    listed& operator=(const listed&) = delete;
    const parallel* who;
  };

  std::shared_ptr<data_parallel> inner_;  // read and written with the GIL
  listed listed_{this};
};

}  // namespace ganglion::python

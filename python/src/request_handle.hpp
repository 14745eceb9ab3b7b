#pragma once

#include <ganglion/actors/protocol/request_options.hpp>

#include <pybind11/pybind11.h>

#include <optional>
#include <stop_token>
#include <string>

namespace ganglion::python {

/// What Python says of a request beside its inputs.
struct request_wish {
  std::optional<double> timeout;  ///< seconds from now
  std::string priority = "normal";
  std::string tenant;

  /// As the engine takes it. Throws `error` with `invalid_argument`.
  request_options options() const;
};

/// A request that is under way, as its future holds it.
class request_handle {
 public:
  std::stop_token token() const { return source_.get_token(); }
  /// Takes the request back where it is not answered: rows that are not begun are dropped.
  void cancel();

 private:
  std::stop_source source_;
};

}  // namespace ganglion::python

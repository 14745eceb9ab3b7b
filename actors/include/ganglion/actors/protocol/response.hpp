#pragma once

#include <ganglion/model_io/error.hpp>

#include <ATen/core/ivalue.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace ganglion {

/// Where the time of a request went, and with whom it ran. All zero and empty where nothing of it ran. The three times
/// add up to that from its acceptance to its answer.
struct request_timing {
  std::chrono::nanoseconds queued{0};   ///< from acceptance until its first forward began
  std::chrono::nanoseconds compute{0};  ///< until the last of its forwards returned
  std::chrono::nanoseconds gather{0};   ///< until its rows were put together
  std::int64_t executions = 0;
  std::int64_t batched_rows = 0;  ///< rows in those executions, its own and its neighbours'
  std::int64_t padded_rows = 0;   ///< rows in those executions that were nobody's
  std::vector<std::size_t> cores; ///< which ran them, as per-process indices, each once
};

/// What a request came to: its outputs, or the failure that took their place.
struct response {
  c10::IValue outputs;
  failure error;
  request_timing timing;

  bool ok() const { return error.code == errc::ok; }
  errc code() const { return error.code; }
  /// The sentence of the failure; empty where it is well.
  const std::string& text() const { return error.text; }
};

}  // namespace ganglion

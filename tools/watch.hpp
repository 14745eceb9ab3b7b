#pragma once

#include <ganglion/actors/protocol/status.hpp>

#include <chrono>
#include <optional>
#include <string>

namespace ganglion::command {

/// What an engine does, as a few lines for a terminal: rates and shares are of the time since the last call.
class status_watch {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  /// One line a core and one a model, without a newline at the end. The first call has no rates yet.
  std::string text(const status& now, time_point at);

 private:
  std::optional<status> before_;
  time_point then_;
};

}  // namespace ganglion::command

#pragma once

#include <ganglion/actors/protocol/status.hpp>

#include <chrono>
#include <deque>
#include <string>

namespace ganglion::command {

/// What an engine does, as a few lines for a terminal: rates, shares and latencies are of the last two seconds, or of
/// as much as was seen.
class status_watch {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  /// One line a core and one a model, without a newline at the end. The first call has no rates yet.
  std::string text(const status& now, time_point at);

 private:
  static constexpr std::chrono::seconds span{2};
  struct look {
    status what;
    time_point at;
  };

  std::deque<look> seen_;
};

}  // namespace ganglion::command

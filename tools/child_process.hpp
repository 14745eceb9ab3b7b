#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ganglion::command {

/// How a process that this one started has ended.
struct child_end {
  /// Whether it ended before it was taken to hang.
  bool in_time = true;
  /// Nothing where it ended by itself, or was taken to hang.
  std::optional<int> signal;
  int exit_status = 0;
};

/// The descriptor to which a child writes the lines that are heard of it.
inline constexpr int report_descriptor = 3;

/// Times are since the child started, without those in which this process was stopped, and the child with it.
struct child_watch {
  using seconds = std::chrono::duration<double>;

  std::function<void(std::string_view line, seconds now)> heard;
  /// Asked once a second: where it says so the child is ended.
  std::function<bool(seconds now)> hangs;
};

/// Runs this very program with other arguments; without a terminal, input and output where it is not `shown`. It does
/// not outlive this process. Errors, thrown: std::system_error where it cannot be started or waited for.
child_end run_this_program(const std::vector<std::string>& arguments, bool shown, const child_watch& watch);

}  // namespace ganglion::command

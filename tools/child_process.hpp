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
  bool in_time = true;
  /// Nothing where it ended by itself, or did not in time.
  std::optional<int> signal;
  int exit_status = 0;
};

/// The descriptor to which a child writes the lines that `heard` is called with.
inline constexpr int report_descriptor = 3;

using child_deadline = std::optional<std::chrono::steady_clock::time_point>;

/// Runs this very program with other arguments, without input, and without a terminal and output where it is not
/// `shown`. `heard` is called with each line that it reports, and says by when it must report the next one or end: then
/// it is ended. Errors, thrown: std::system_error where it cannot be started.
child_end run_this_program(const std::vector<std::string>& arguments, bool shown,
                           const std::function<child_deadline(std::string_view line)>& heard);

}  // namespace ganglion::command

#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace ganglion::command {

/// How a process that this one started has ended.
struct child_end {
  bool in_time = true;
  /// Nothing where it ended by itself.
  std::optional<int> signal;
  bool succeeded = false;
  std::chrono::duration<double> took{0};
};

/// Runs this very program with other arguments, without terminal and output, and ends it after `bound` where there is
/// one. Errors, thrown: std::system_error where it cannot be started.
child_end run_this_program(const std::vector<std::string>& arguments,
                           std::optional<std::chrono::duration<double>> bound);

}  // namespace ganglion::command

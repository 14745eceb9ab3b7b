#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace ganglion::command {

/// While it lives, a terminal on stderr shows the text, of one line or several, and keeps it up to date; where stderr
/// is no terminal, nothing. `text` is called on a thread of its own. At most one at a time.
class progress_line {
 public:
  explicit progress_line(std::function<std::string()> text);
  /// Takes the line off the terminal.
  ~progress_line();

 private:
  void keep_up_to_date();

  std::function<std::string()> text_;
  std::mutex mutex_;
  std::condition_variable ending_;
  bool ended_ = false;
  std::thread thread_;
};

/// Takes off a terminal the one line that a process left there when it crashed.
void clear_line_of_another();

/// Writes a line to stderr, whole, and not into a progress line. Any thread.
void print_stderr_line(const std::string& line);

}  // namespace ganglion::command

#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace ganglion::command {

/// Whether a process that compiles a model hangs: a program is taken to after ten times what the module itself has
/// taken so far, and 10 s at least. The module itself may take as long as it does. Times are since the process started.
class program_watch {
 public:
  using seconds = std::chrono::duration<double>;

  /// The process goes on with that program, or with the module itself: empty, or `as_is`.
  void told(std::string_view program, seconds now);

  /// The program that is at work; empty where it is the module itself before and between them.
  const std::string& program() const { return program_; }
  seconds bound() const;
  bool hangs(seconds now) const;

 private:
  bool is_the_module() const { return program_.empty() || program_ == "as_is"; }

  std::string program_;
  seconds since_{0};
  seconds own_{0};
};

}  // namespace ganglion::command

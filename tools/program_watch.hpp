#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace ganglion::command {

/// Until when a process that compiles a model must go on from a program to the next: a program is taken to hang after
/// ten times what the module itself has taken so far, and 10 s at least. The module itself may take as long as it does.
class program_watch {
 public:
  using time_point = std::chrono::steady_clock::time_point;
  using seconds = std::chrono::duration<double>;

  explicit program_watch(time_point start) : since_(start) {}

  /// The process goes on with that program, or with the module itself: empty, or `as_is`.
  void told(std::string_view program, time_point now);

  /// The program that is at work; empty where it is the module itself before and between them.
  const std::string& program() const { return program_; }
  seconds bound() const;
  std::optional<time_point> deadline() const;

 private:
  bool is_the_module() const { return program_.empty() || program_ == "as_is"; }

  std::string program_;
  time_point since_;
  seconds own_{0};
};

}  // namespace ganglion::command

#pragma once

#include <support/doctest.hpp>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace ganglion::test {

/// A program run beside the test, which talks to it line by line through its standard input and output.
class child_program {
 public:
  /// The environment is the test's without NEURON_ and GANGLION_ variables, and with those given.
  child_program(const std::string& path, std::vector<std::string> arguments,
                const std::map<std::string, std::string>& variables) {
    int to[2], from[2];
    // Closed in every child but for the copies made below, so that the end of the input is the end.
    REQUIRE(::pipe2(to, O_CLOEXEC) == 0);
    REQUIRE(::pipe2(from, O_CLOEXEC) == 0);
    std::vector<std::string> environment;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      std::string text{*entry};
      if (!text.starts_with("NEURON_") && !text.starts_with("GANGLION_")) environment.push_back(std::move(text));
    }
    for (const auto& [name, value] : variables) environment.push_back(name + "=" + value);
    arguments.insert(arguments.begin(), path);

    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    ::posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    auto status = ::posix_spawn(&id_, path.c_str(), &actions, nullptr, pointers(arguments).data(),
                                pointers(environment).data());
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(to[0]);
    ::close(from[1]);
    in_ = to[1];
    out_ = ::fdopen(from[0], "r");
    REQUIRE(status == 0);
  }
  child_program(const child_program&) = delete;
  child_program& operator=(const child_program&) = delete;
  ~child_program() { finish(); }

  pid_t id() const { return id_; }

  /// Waits for its next line; empty when there is none any more.
  std::string line() {
    std::string result;
    for (int c = std::fgetc(out_); c != EOF && c != '\n'; c = std::fgetc(out_)) result += static_cast<char>(c);
    return result;
  }

  /// Says a line and returns the one that answers it.
  std::string ask(const std::string& question) {
    auto text = question + "\n";
    REQUIRE(::write(in_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    return line();
  }

  /// Ends its input, and waits for its end. Returns its exit status.
  int finish() {
    if (in_ >= 0) ::close(in_);
    in_ = -1;
    return wait();
  }

  void kill() {
    if (id_ > 0) ::kill(id_, SIGKILL);
    finish();
  }

 private:
  static std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (auto& text : texts) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
  }

  int wait() {
    if (id_ <= 0) return status_;
    ::waitpid(id_, &status_, 0);
    id_ = -1;
    std::fclose(out_);
    return status_;
  }

  pid_t id_ = -1;
  int in_ = -1;
  std::FILE* out_ = nullptr;
  int status_ = -1;
};

}  // namespace ganglion::test

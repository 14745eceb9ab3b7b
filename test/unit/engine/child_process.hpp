#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

namespace ganglion::test {

/// A forked child that runs `body` once (a function that returns one line of text), reports the line, then
/// stays until it is told to go on or killed. What `body` put into objects that outlive it is still alive
/// meanwhile.
class child_process {
 public:
  template <class Body>
  explicit child_process(Body&& body) {
    if (::pipe(from_child_) != 0 || ::pipe(to_child_) != 0) throw std::runtime_error{"no pipe"};
    id_ = ::fork();
    if (id_ < 0) throw std::runtime_error{"no fork"};
    if (id_ > 0) {
      ::close(from_child_[1]);
      ::close(to_child_[0]);
      return;
    }
    ::close(from_child_[0]);
    ::close(to_child_[1]);
    std::string line;
    try {
      line = body();
    } catch (const std::exception& thrown) {
      line = std::string{"exception: "} + thrown.what();
    }
    line += '\n';
    char go = 0;
    bool told = ::write(from_child_[1], line.data(), line.size()) == static_cast<ssize_t>(line.size()) &&
                ::read(to_child_[0], &go, 1) >= 0;
    ::_exit(told ? 0 : 1);
  }
  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;
  ~child_process() { finish(); }

  pid_t id() const { return id_; }

  /// Waits for the line.
  std::string report() {
    std::string line;
    for (char c = 0; ::read(from_child_[0], &c, 1) == 1 && c != '\n';) line += c;
    return line;
  }

  /// Lets it end by itself, and waits for the end.
  void finish() {
    if (id_ <= 0) return;
    char go = 1;
    [[maybe_unused]] auto written = ::write(to_child_[1], &go, 1);
    wait();
  }

  void kill() {
    ::kill(id_, SIGKILL);
    wait();
  }

 private:
  void wait() {
    ::waitpid(id_, nullptr, 0);
    ::close(from_child_[0]);
    ::close(to_child_[1]);
    id_ = -1;
  }

  pid_t id_ = -1;
  int from_child_[2];
  int to_child_[2];
};

}  // namespace ganglion::test

#include "child_process.hpp"

#include "awake_clock.hpp"

#define BOOST_PROCESS_V2_HEADER_ONLY 1
#include <boost/asio/connect_pipe.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/readable_pipe.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/writable_pipe.hpp>
#include <boost/process/v2/process.hpp>
#include <boost/process/v2/stdio.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ganglion::command {

namespace asio = boost::asio;
namespace process = boost::process::v2;
using boost::system::error_code;

namespace {

/// What the child does before it is this program: it takes the descriptor to report to, and ends with its parent.
/// Boost 1.81 has `bind_fd` for the first, which returns nothing where it must.
struct reporting_child {
  int written;
  pid_t parent;

  template <class Launcher>
  error_code on_setup(Launcher& launcher, const process::filesystem::path&, const char* const*) {
    launcher.fd_whitelist.push_back(report_descriptor);
    return {};
  }

  template <class Launcher>
  error_code on_exec_setup(Launcher&, const process::filesystem::path&, const char* const*) {
    const bool there = ::dup2(written, report_descriptor) != -1 && ::fcntl(report_descriptor, F_SETFD, 0) != -1 &&
                       ::prctl(PR_SET_PDEATHSIG, SIGKILL) != -1;
    if (!there) return {errno, boost::system::system_category()};
    if (::getppid() != parent) return {ESRCH, boost::system::system_category()};
    return {};
  }
};

class watched_child {
 public:
  watched_child(const std::vector<std::string>& arguments, bool shown, const child_watch& watch) : watch_(watch) {
    std::signal(SIGCHLD, SIG_DFL);  // where it is ignored nobody learns how a child ended
    asio::writable_pipe written{context_};
    asio::connect_pipe(reports_, written);
    for (const auto end : {reports_.native_handle(), written.native_handle()}) ::fcntl(end, F_SETFD, FD_CLOEXEC);
    reporting_child reports{written.native_handle(), ::getpid()};
    const auto start = [&](process::process_stdio&& streams) {
      return process::process{context_, "/proc/self/exe", arguments, streams, reports};
    };
    child_ = shown ? start({{}, {}, {}}) : start({nullptr, nullptr, nullptr});
  }

  child_end run() {
    hear();
    tick();
    error_code failed;
    child_.async_wait([&](error_code problem, int) {
      failed = problem;
      gone_ = true;
      ticks_.cancel();
      reports_.cancel();
    });
    context_.run();
    if (failed) throw std::system_error(failed.value(), std::system_category(), "a process cannot be waited for");
    const auto status = child_.native_exit_code();
    if (end_.in_time && WIFSIGNALED(status)) end_.signal = WTERMSIG(status);
    if (WIFEXITED(status)) end_.exit_status = WEXITSTATUS(status);
    return end_;
  }

 private:
  using clock = std::chrono::steady_clock;

  void hear() {
    reports_.async_read_some(asio::buffer(read_), [this](error_code ended, std::size_t size) {
      take(size);
      if (gone_)
        hear_the_rest();
      else if (!ended)
        hear();
    });
  }

  /// Of the child that has gone; not of another process, which may have the descriptor too.
  void hear_the_rest() {
    const auto from = reports_.native_handle();
    ::fcntl(from, F_SETFL, O_NONBLOCK);
    for (auto size = ::read(from, read_.data(), read_.size()); size > 0; size = ::read(from, read_.data(), read_.size()))
      take(static_cast<std::size_t>(size));
  }

  void take(std::size_t size) {
    text_.append(read_.data(), size);
    for (auto end = text_.find('\n'); end != text_.npos; end = text_.find('\n')) {
      watch_.heard(std::string_view{text_}.substr(0, end), now());
      text_.erase(0, end + 1);
    }
  }

  void tick() {
    ticks_.expires_after(std::chrono::seconds(1));
    ticks_.async_wait([this](error_code stopped) {
      if (stopped || gone_) return;
      if (!watch_.hangs(now())) return tick();
      end_.in_time = false;
      child_.terminate();
    });
  }

  child_watch::seconds now() { return time_.at(clock::now()); }

  const child_watch& watch_;
  asio::io_context context_;
  asio::readable_pipe reports_{context_};
  asio::steady_timer ticks_{context_};
  process::process child_{context_};
  awake_clock time_{clock::now()};
  std::array<char, 1024> read_;
  std::string text_;
  bool gone_ = false;
  child_end end_;
};

}  // namespace

child_end run_this_program(const std::vector<std::string>& arguments, bool shown, const child_watch& watch) {
  return watched_child{arguments, shown, watch}.run();
}

}  // namespace ganglion::command

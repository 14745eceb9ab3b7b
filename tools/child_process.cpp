#include "child_process.hpp"

#define BOOST_PROCESS_V2_HEADER_ONLY 1
#include <boost/asio/connect_pipe.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/readable_pipe.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/writable_pipe.hpp>
#include <boost/process/v2/process.hpp>
#include <boost/process/v2/stdio.hpp>

#include <cerrno>
#include <sys/wait.h>
#include <unistd.h>

namespace ganglion::command {

namespace asio = boost::asio;
namespace process = boost::process::v2;

namespace {

/// Gives a child the descriptor to report to. Boost 1.81 has `bind_fd` for this, which returns nothing where it must.
struct report_pipe {
  int written;

  template <class Launcher>
  boost::system::error_code on_setup(Launcher& launcher, const process::filesystem::path&, const char* const*) {
    launcher.fd_whitelist.push_back(report_descriptor);
    return {};
  }

  template <class Launcher>
  boost::system::error_code on_exec_setup(Launcher&, const process::filesystem::path&, const char* const*) {
    if (::dup2(written, report_descriptor) == -1) return {errno, boost::system::system_category()};
    return {};
  }
};

class watched_child {
 public:
  watched_child(const std::vector<std::string>& arguments, bool shown,
                const std::function<child_deadline(std::string_view)>& heard)
      : heard_(heard) {
    asio::writable_pipe written{context_};
    asio::connect_pipe(reports_, written);
    report_pipe reports{written.native_handle()};
    const auto start = [&](process::process_stdio&& output) {
      return process::process{context_, "/proc/self/exe", arguments, output, reports};
    };
    child_ = shown ? start({nullptr, {}, {}}) : start({nullptr, nullptr, nullptr});
  }

  child_end run() {
    hear();
    child_.async_wait([&](boost::system::error_code, int) { alarm_.cancel(); });
    context_.run();
    const auto status = child_.native_exit_code();
    if (end_.in_time && WIFSIGNALED(status)) end_.signal = WTERMSIG(status);
    if (WIFEXITED(status)) end_.exit_status = WEXITSTATUS(status);
    return end_;
  }

 private:
  void hear() {
    asio::async_read_until(reports_, asio::dynamic_buffer(text_), '\n',
                           [this](boost::system::error_code ended, std::size_t size) {
                             if (ended) {
                               alarm_.cancel();
                               return;
                             }
                             const auto deadline = heard_(std::string_view{text_}.substr(0, size - 1));
                             text_.erase(0, size);
                             end_at(deadline);
                             hear();
                           });
  }

  void end_at(child_deadline deadline) {
    alarm_.cancel();
    if (!deadline) return;
    alarm_.expires_at(*deadline);
    alarm_.async_wait([this](boost::system::error_code stopped) {
      if (stopped) return;
      end_.in_time = false;
      child_.terminate();
    });
  }

  const std::function<child_deadline(std::string_view)>& heard_;
  asio::io_context context_;
  asio::readable_pipe reports_{context_};
  asio::steady_timer alarm_{context_};
  process::process child_{context_};
  std::string text_;
  child_end end_;
};

}  // namespace

child_end run_this_program(const std::vector<std::string>& arguments, bool shown,
                           const std::function<child_deadline(std::string_view line)>& heard) {
  return watched_child{arguments, shown, heard}.run();
}

}  // namespace ganglion::command

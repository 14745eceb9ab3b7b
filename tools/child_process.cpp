#include "child_process.hpp"

#define BOOST_PROCESS_V2_HEADER_ONLY 1
#define BOOST_PROCESS_V2_USE_STD_FS 1
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/process/v2/process.hpp>
#include <boost/process/v2/stdio.hpp>

#include <sys/wait.h>

namespace ganglion::command {

namespace asio = boost::asio;
namespace process = boost::process::v2;

child_end run_this_program(const std::vector<std::string>& arguments,
                           std::optional<std::chrono::duration<double>> bound) {
  using clock = std::chrono::steady_clock;
  const auto begin = clock::now();
  asio::io_context context;
  child_end end;
  process::process child{context, "/proc/self/exe", arguments, process::process_stdio{nullptr, nullptr, nullptr}};
  asio::steady_timer alarm{context};
  if (bound) {
    alarm.expires_after(std::chrono::duration_cast<clock::duration>(*bound));
    alarm.async_wait([&](boost::system::error_code stopped) {
      if (stopped) return;
      end.in_time = false;
      child.terminate();
    });
  }
  child.async_wait([&](boost::system::error_code, int) { alarm.cancel(); });
  context.run();
  const auto status = child.native_exit_code();
  if (end.in_time && WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  end.succeeded = end.in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  end.took = clock::now() - begin;
  return end;
}

}  // namespace ganglion::command

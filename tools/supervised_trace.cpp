#include "supervised_trace.hpp"

#include "program_watch.hpp"
#include "progress_line.hpp"

#include <ganglion/model_io/model.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>

namespace ganglion::command {

namespace {

/// Why the program that was at work is not to be tried; empty where the end was none of its doing.
std::string reason_of(const child_end& end, const program_watch& watch) {
  if (watch.program().empty()) return {};
  if (!end.in_time) return fmt::format("it did not end within {:.0f} s in a process of its own", watch.bound().count());
  if (end.signal && !comes_from_outside(*end.signal))
    return fmt::format("it ended a process of its own by {}", signal_text(*end.signal));
  return {};
}

void exclude(std::map<std::string, std::string>& excluded, const std::string& program, const std::string& reason) {
  excluded.emplace(program, reason);
  if (program != "frozen") return;
  for (const auto name : tuned_programs())
    if (name != "as_is")
      excluded.emplace(name, fmt::format("it is made of the frozen one, which is not tried: {}", reason));
}

}  // namespace

bool comes_from_outside(int signal) {
  constexpr std::array all{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGXCPU};
  return std::ranges::find(all, signal) != all.end();
}

std::string signal_text(int signal) { return fmt::format("signal {}, {}", signal, strsignal(signal)); }

supervised_end run_trace(const std::string& model, const std::vector<std::string>& options, bool shown,
                         const std::function<void(std::string_view)>& tell) {
  supervised_end result;
  for (bool again = true; again;) {
    std::vector<std::string> call{"trace"};
    call.insert(call.end(), options.begin(), options.end());
    call.push_back("--watched");
    for (const auto& [name, reason] : result.excluded) call.insert(call.end(), {"--exclude", name, reason});
    call.insert(call.end(), {"--", model});
    program_watch watch;
    const auto hear = [&](std::string_view program, program_watch::seconds now) {
      if (tell) tell(program);
      watch.told(program, now);
    };
    result.last = run_this_program(call, shown, {hear, [&](auto now) { return watch.hangs(now); }});
    if (shown && (result.last.signal || !result.last.in_time)) clear_line_of_another();
    const auto reason = reason_of(result.last, watch);
    again = !reason.empty() && !result.excluded.contains(watch.program());
    if (again) exclude(result.excluded, watch.program(), reason);
  }
  return result;
}

}  // namespace ganglion::command

#include "program_trials.hpp"

#include "child_process.hpp"

#include <ganglion/model_io/model.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace ganglion::command {

namespace {

using seconds = std::chrono::duration<double>;

std::string reason_of(const child_end& end, seconds bound) {
  if (!end.in_time) return fmt::format("it did not end within {:.0f} s in a process of its own", bound.count());
  if (end.signal)
    return fmt::format("it ended a process of its own by signal {}, {}", *end.signal, strsignal(*end.signal));
  return {};
}

}  // namespace

std::map<std::string, std::string> programs_to_avoid(const std::vector<std::string>& arguments,
                                                     const std::function<void(std::string_view)>& tell) {
  // What the first takes that ends well, as a rule the module itself, says how long another may take.
  constexpr seconds least{10};
  constexpr double times = 10;
  std::map<std::string, std::string> avoid;
  seconds bound{0};
  for (const auto name : tuned_programs()) {
    if (const auto frozen = avoid.find("frozen"); frozen != avoid.end()) {
      avoid.emplace(name, fmt::format("it is made of the frozen one, which is not tried: {}", frozen->second));
      continue;
    }
    tell(name);
    auto call = arguments;
    call.insert(call.end(), {"--only", std::string(name)});
    const bool first = bound.count() == 0;
    const auto end = run_this_program(call, first ? std::nullopt : std::optional{bound});
    if (auto reason = reason_of(end, bound); !reason.empty()) avoid.emplace(name, std::move(reason));
    if (first && end.succeeded) bound = std::max(least, times * end.took);
  }
  return avoid;
}

}  // namespace ganglion::command

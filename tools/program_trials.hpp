#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ganglion::command {

/// Tries each program that `trace` may choose from in a process of its own, since a module may be one with which
/// LibTorch crashes or hangs. `arguments` are those of a call of `ganglion trace` that compiles the same; `--only NAME`
/// is added to them. `tell` hears the name of each. Returns the programs that must not be tried in this process, with
/// the reason.
std::map<std::string, std::string> programs_to_avoid(const std::vector<std::string>& arguments,
                                                     const std::function<void(std::string_view)>& tell);

}  // namespace ganglion::command

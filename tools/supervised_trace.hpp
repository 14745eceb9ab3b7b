#pragma once

#include "child_process.hpp"

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ganglion::command {

struct supervised_end {
  child_end last;
  /// The programs that must not be tried, each with the reason.
  std::map<std::string, std::string> excluded;
};

/// Runs `ganglion trace` with these options in a process of its own, since a module may be one with which LibTorch
/// crashes or hangs. Where that happens with one of the programs that it tries, it is run again without that one.
/// `tell` hears the name of each. See `--watched` and `--exclude` of `trace`, which are not in its help.
supervised_end run_trace(const std::string& model, const std::vector<std::string>& options, bool shown,
                         const std::function<void(std::string_view)>& tell = {});

/// By which somebody ends a process, or the limit on CPU time: no program is to blame for it.
bool comes_from_outside(int signal);

/// What a signal is called: `signal 11, Segmentation fault`.
std::string signal_text(int signal);

}  // namespace ganglion::command

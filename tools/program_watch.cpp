#include "program_watch.hpp"

#include <algorithm>

namespace ganglion::command {

void program_watch::told(std::string_view program, time_point now) {
  if (is_the_module()) own_ += now - since_;
  program_ = program;
  since_ = now;
}

program_watch::seconds program_watch::bound() const {
  constexpr seconds least{10};
  constexpr double times = 10;
  return std::max(least, times * own_);
}

std::optional<program_watch::time_point> program_watch::deadline() const {
  if (is_the_module()) return std::nullopt;
  return since_ + std::chrono::duration_cast<time_point::duration>(bound());
}

}  // namespace ganglion::command

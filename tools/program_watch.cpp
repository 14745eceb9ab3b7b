#include "program_watch.hpp"

#include <algorithm>

namespace ganglion::command {

void program_watch::told(std::string_view program, seconds now) {
  if (is_the_module()) own_ += now - since_;
  program_ = program;
  since_ = now;
}

program_watch::seconds program_watch::bound() const {
  constexpr seconds least{10};
  constexpr double times = 10;
  return std::max(least, times * own_);
}

bool program_watch::hangs(seconds now) const { return !is_the_module() && now - since_ >= bound(); }

}  // namespace ganglion::command

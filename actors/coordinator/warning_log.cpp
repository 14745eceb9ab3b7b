#include <ganglion/actors/coordinator/warning_log.hpp>

#include <algorithm>

namespace ganglion {

void warning_log::add(std::string_view kind, std::string sentence) {
  {
    std::lock_guard lock(mutex_);
    if (std::find(kinds_.begin(), kinds_.end(), kind) != kinds_.end()) return;
    kinds_.emplace_back(kind);
    sentences_.push_back(sentence);
  }
  if (log_) log_(sentence);
}

std::vector<std::string> warning_log::sentences() const {
  std::lock_guard lock(mutex_);
  return sentences_;
}

}  // namespace ganglion

#include "bench_stability.hpp"

#include <algorithm>

namespace ganglion::command {

void stability_window::add(double figure, double seconds) {
  figures_.push_back(figure);
  seconds_ += seconds;
}

bool stability_window::agreed() const {
  if (figures_.size() < rule_.agreeing) return false;
  const auto [smallest, largest] = std::minmax_element(figures_.end() - static_cast<std::ptrdiff_t>(rule_.agreeing),
                                                       figures_.end());
  return *smallest > 0 && *largest <= *smallest * (1 + rule_.within);
}

bool stability_window::ended() const {
  return agreed() || figures_.size() >= rule_.most || seconds_ >= rule_.most_seconds;
}

}  // namespace ganglion::command

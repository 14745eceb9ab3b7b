#include "bench_search.hpp"

#include <algorithm>
#include <cmath>

namespace ganglion::command {

namespace {

/// Below this share of the first rate nothing is looked for.
constexpr double lowest_share = 1.0 / 64;

}  // namespace

rate_search::rate_search(search_settings settings) : settings_(settings) {
  rate_ = std::min(settings_.first, settings_.highest);
}

std::optional<double> rate_search::next() const {
  if (ended_ || tries_ >= settings_.most_tries) return {};
  return rate_;
}

void rate_search::tell(bool held) {
  ++tries_;
  if (!held) return failed();
  if (confirming_) {
    found_ = rate_;
    ended_ = true;
    return;
  }
  holds_ = rate_;
  failures_ = 0;
  choose();
}

void rate_search::failed() {
  if (confirming_) {
    fails_ = rate_;
    rate_ *= 1 - settings_.step_down;
    ended_ = rate_ < lowest_share * settings_.first;
    return;
  }
  if (++failures_ < 2) return;
  fails_ = rate_;
  failures_ = 0;
  choose();
}

void rate_search::choose() {
  if (holds_ == 0) {
    rate_ = fails_ / 2;
    ended_ = rate_ < lowest_share * settings_.first;
  } else if (holds_ >= settings_.highest || fails_ <= holds_ * (1 + settings_.precision)) {
    rate_ = holds_;
    confirming_ = true;
  } else {
    rate_ = std::isinf(fails_) ? std::min(2 * holds_, settings_.highest) : (holds_ + fails_) / 2;
  }
}

std::vector<double> rates_between(double rate, const std::vector<double>& tried) {
  std::vector<double> result;
  for (const auto share : {0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0}) {
    const auto wanted = share * rate;
    const bool near = std::any_of(tried.begin(), tried.end(),
                                  [&](double t) { return std::abs(t - wanted) <= 0.05 * wanted; });
    if (!near) result.push_back(wanted);
  }
  return result;
}

}  // namespace ganglion::command

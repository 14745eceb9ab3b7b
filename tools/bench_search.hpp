#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <vector>

namespace ganglion::command {

struct search_settings {
  double first = 1;         ///< the rate to begin with; above 0
  double highest = 1e6;     ///< no rate above it is tried
  double precision = 0.02;  ///< the gap between what holds and what does not, as a share
  double step_down = 0.05;  ///< by so much a rate that was not confirmed is lowered
  std::size_t most_tries = 40;
};

/// Looks for the highest rate that holds, where one try is not always right: by doubling or halving until the answer
/// lies between two rates, then by halving the gap, and at the end by confirming.
///
/// - A rate counts as one that does not hold when two tries of it have failed, since a machine has bad moments.
/// - What is found has been confirmed, by a measurement that is longer; a rate that was not confirmed is one that does
///   not hold, and the next ones are a step lower each.
/// - So whatever the answers are: what is found is below every rate that does not hold, and the search ends.
class rate_search {
 public:
  explicit rate_search(search_settings settings);

  /// What to try next; nothing when the search has ended.
  std::optional<double> next() const;
  /// Whether the next try is to be the longer one.
  bool confirming() const { return confirming_; }
  /// Whether the rate held. Precondition: `next()` has one.
  void tell(bool held);

  /// What was found; 0 where no rate holds, or tries ran out before one was confirmed.
  double found() const { return found_; }
  /// Whether it ended because of the number of tries.
  bool ran_out() const { return !ended_ && tries_ >= settings_.most_tries; }

 private:
  void choose();
  void failed();

  search_settings settings_;
  double holds_ = 0;                                        ///< the highest rate that held in a try
  double fails_ = std::numeric_limits<double>::infinity();  ///< the lowest that does not hold
  double rate_ = 0;
  std::size_t failures_ = 0;  ///< of the rate
  std::size_t tries_ = 0;
  bool confirming_ = false;
  bool ended_ = false;
  double found_ = 0;
};

/// Rates at which a picture of latency against rate wants a point beside those that were tried: evenly from a tenth of
/// `rate` on up to it, but none that is within 5 % of one tried.
std::vector<double> rates_between(double rate, const std::vector<double>& tried);

}  // namespace ganglion::command

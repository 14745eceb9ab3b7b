#pragma once

#include <ganglion/actors/batcher/credits.hpp>

#include <cstdint>
#include <map>
#include <vector>

namespace ganglion {

/// Which of a model's compiled batch sizes to run next for so many rows: the first of the cheapest cover, by measured
/// seconds an execution and not by a fixed rule. Sizes that were not measured yet are taken to cost as much as the
/// nearest measured ones, so that fewer executions win.
///
/// Invariants: the size is one of the compiled ones; it is the largest where there are at least that many rows and no
/// other serves a row for less; what a cover costs never exceeds one execution of the smallest size that holds all
/// rows.
class batch_cover {
 public:
  /// `sizes` ascending, at least one, all positive. With `deterministic` always the largest, so that a row's bits do
  /// not depend on what else waits.
  explicit batch_cover(std::vector<std::int64_t> sizes, bool deterministic = false);

  const std::vector<std::int64_t>& sizes() const { return sizes_; }
  std::int64_t largest() const { return sizes_.back(); }

  /// Learns what an execution of a size took. What the other sizes took is doubted a little: a size that was slow once,
  /// and is not picked since, is tried again some hundred or thousand executions later.
  void measured(std::int64_t size, double seconds);
  /// Doubts all of it a little: an estimate that keeps everybody away is not measured again.
  void doubt();
  /// The expected seconds of an execution of that size, or the fallback where nothing was measured.
  double seconds(std::int64_t size, double fallback) const;

  /// The size to run next for `rows` rows, which are at least 1.
  std::int64_t pick(std::int64_t rows) const;
  /// The size that runs `rows` rows, at least 1 and no more than the largest, in one execution for least.
  std::int64_t fit(std::int64_t rows) const;
  /// The seconds of the cheapest cover of `rows` rows, one execution after the other; 0 where nothing was measured.
  double cost(std::int64_t rows) const;

 private:
  struct choice {
    std::int64_t size = 0;
    double seconds = 0;
  };
  /// The cheapest cover of each number of rows up to the largest size.
  const std::vector<choice>& table() const;

  std::vector<std::int64_t> sizes_;
  bool deterministic_;
  std::map<std::int64_t, running_mean> means_;
  mutable std::vector<choice> table_;
  mutable std::vector<double> table_seconds_;  // of each size, as the table was made with
};

}  // namespace ganglion

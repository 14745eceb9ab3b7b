#pragma once

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ganglion {

/// How often durations of which length came, in fixed buckets, so that histograms of anything, anywhere, can be added
/// up: 16 equal ones for each doubling, from 64 ns to more than two hours. A bound is off by less than 7 %.
class histogram {
 public:
  static constexpr std::size_t bucket_count = 544;

  /// The bucket of a duration: below the first and beyond the last, those.
  static constexpr std::size_t bucket_of(std::chrono::nanoseconds t) {
    auto units = static_cast<std::uint64_t>(std::max<std::int64_t>(t.count(), 0)) / unit;
    if (units < in_an_octave) return static_cast<std::size_t>(units);
    auto octave = static_cast<std::size_t>(std::bit_width(units)) - std::bit_width(in_an_octave);
    return std::min(in_an_octave * (octave + 1) + static_cast<std::size_t>((units >> octave) % in_an_octave),
                    bucket_count - 1);
  }
  /// The shortest duration that is too long for a bucket.
  static constexpr std::chrono::nanoseconds end_of(std::size_t bucket) {
    auto next = bucket + 1;
    if (next < in_an_octave) return std::chrono::nanoseconds(next * unit);
    auto octave = next / in_an_octave - 1;
    return std::chrono::nanoseconds(((in_an_octave + next % in_an_octave) << octave) * unit);
  }

  void add(std::size_t bucket, std::uint64_t count, std::int64_t sum_ns) {
    if (count == 0) return;
    counts_.resize(std::max(counts_.size(), bucket + 1));
    counts_[bucket] += count;
    sum_ns_ += sum_ns;
  }
  void add(std::chrono::nanoseconds t) { add(bucket_of(t), 1, t.count()); }
  void add(const histogram& other) {
    for (std::size_t i = 0; i < other.counts_.size(); ++i) add(i, other.counts_[i], 0);
    sum_ns_ += other.sum_ns_;
  }

  /// What was added since it was `before`; all of it where it began anew meanwhile.
  histogram since(const histogram& before) const {
    auto result = *this;
    for (std::size_t i = 0; i < before.counts_.size(); ++i) {
      if (i >= counts_.size() || counts_[i] < before.counts_[i]) return *this;
      result.counts_[i] -= before.counts_[i];
    }
    result.sum_ns_ -= before.sum_ns_;
    return result;
  }

  std::uint64_t count() const {
    std::uint64_t sum = 0;
    for (auto c : counts_) sum += c;
    return sum;
  }
  std::chrono::nanoseconds sum() const { return std::chrono::nanoseconds(sum_ns_); }
  /// How many were shorter than `t`, to the resolution of the buckets.
  std::uint64_t count_below(std::chrono::nanoseconds t) const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < counts_.size() && end_of(i) <= t; ++i) sum += counts_[i];
    return sum;
  }
  /// A duration that at least this share of them (0 to 1) did not pass; 0 where there are none.
  std::chrono::nanoseconds quantile(double share) const {
    auto wanted = share * static_cast<double>(count());
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i)
      if (sum += counts_[i]; sum > 0 && static_cast<double>(sum) >= wanted) return end_of(i);
    return {};
  }

  template <class Inspector>
  friend typename Inspector::result_type inspect(Inspector& f, histogram& x) {
    return f(x.counts_, x.sum_ns_);
  }
  friend bool operator==(const histogram&, const histogram&) = default;

 private:
  static constexpr std::uint64_t unit = 64;  // ns
  static constexpr std::size_t in_an_octave = 16;

  std::vector<std::uint64_t> counts_;  // up to the last that is not 0
  std::int64_t sum_ns_ = 0;
};

}  // namespace ganglion

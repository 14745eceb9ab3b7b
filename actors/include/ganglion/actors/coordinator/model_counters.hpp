#pragma once

#include <ganglion/actors/protocol/histogram.hpp>
#include <ganglion/actors/protocol/response.hpp>
#include <ganglion/actors/protocol/status.hpp>

#include <array>
#include <atomic>
#include <memory>

namespace ganglion {

/// What became of the requests of one model, counted by whoever accepts, queues and answers them. Any thread, and no
/// lock: each thread counts in a part that it shares with few others, and who reads adds the parts up.
class model_counters {
 public:
  model_counters();

  void accepted(std::int64_t rows, std::int64_t bytes);
  /// Rows that wait no more: they are in an execution, or were dropped.
  void left_queue(std::int64_t rows, std::int64_t bytes);
  /// An accepted request was answered.
  void answered(const response& result);
  /// A request was not accepted.
  void refused(errc why);

  std::int64_t queued_rows() const;
  /// Fills in all that is counted here. Numbers that change meanwhile may be of different moments.
  void read(model_status& into) const;

 private:
  struct durations {
    std::array<std::atomic<std::uint64_t>, histogram::bucket_count> counts{};
    std::atomic<std::int64_t> sum_ns{0};

    void add(std::chrono::nanoseconds t);
    void read(histogram& into) const;
  };
  struct alignas(64) part {
    std::array<std::atomic<std::uint64_t>, errc_count> outcomes{};
    std::atomic<std::int64_t> queued_rows{0}, queued_bytes{0}, unanswered{0};
    std::atomic<std::uint64_t> rows{0};
    durations queued, compute, total;
  };

  part& mine();

  static constexpr std::size_t part_count = 8;
  std::unique_ptr<std::array<part, part_count>> parts_;
};

}  // namespace ganglion

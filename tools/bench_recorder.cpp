#include "bench_recorder.hpp"

#include <algorithm>
#include <chrono>

namespace ganglion::command {

namespace {

constexpr std::size_t most_records = 16'384;

}  // namespace

void execution_recorder::add(const execution_record& record) {
  std::lock_guard lock(mutex_);
  // An execution may be told of when the next window has begun.
  const auto its = std::find_if(windows_.rbegin(), windows_.rend(),
                                [&](const window& w) { return w.since <= record.enqueued; });
  if (its == windows_.rend() || record.enqueued >= until_) return;
  its->totals.executions += static_cast<std::uint64_t>(record.forwards);
  its->totals.rows += static_cast<std::uint64_t>(record.rows);
  its->totals.padding_rows += static_cast<std::uint64_t>(record.padding_rows);
  if (its->records.size() < most_records) its->records.push_back(record);
}

void execution_recorder::start(std::size_t windows_kept) {
  std::lock_guard lock(mutex_);
  windows_.push_back({std::chrono::steady_clock::now(), {}, {}});
  while (windows_.size() > windows_kept) windows_.pop_front();
  until_ = execution_record::time_point::max();
}

void execution_recorder::stop() {
  std::lock_guard lock(mutex_);
  until_ = std::chrono::steady_clock::now();
}

execution_recorder::counts execution_recorder::totals() const {
  std::lock_guard lock(mutex_);
  counts all;
  for (const auto& w : windows_) {
    all.executions += w.totals.executions;
    all.rows += w.totals.rows;
    all.padding_rows += w.totals.padding_rows;
  }
  return all;
}

std::vector<timeline_bar> execution_recorder::bars(const std::vector<std::size_t>& cores) const {
  std::lock_guard lock(mutex_);
  std::vector<timeline_bar> result;
  if (windows_.empty()) return result;
  const auto zero = windows_.front().since;
  const auto at = [&](execution_record::time_point time) {
    return std::chrono::duration<double, std::milli>(time - zero).count();
  };
  for (const auto& w : windows_) {
    for (const auto& r : w.records) {
      const auto lane = static_cast<std::size_t>(std::find(cores.begin(), cores.end(), r.core) - cores.begin());
      result.push_back({lane, at(r.enqueued), at(r.formed), at(r.started), at(r.computed), at(r.gathered), r.rows,
                        r.padding_rows, r.failed});
    }
  }
  return result;
}

}  // namespace ganglion::command

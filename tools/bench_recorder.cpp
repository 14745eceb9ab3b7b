#include "bench_recorder.hpp"

#include <algorithm>
#include <chrono>

namespace ganglion::command {

namespace {

constexpr std::size_t most_records = 65'536;

}  // namespace

void execution_recorder::add(const execution_record& record) {
  std::lock_guard lock(mutex_);
  if (record.enqueued < since_) return;
  ++totals_.executions;
  totals_.rows += static_cast<std::uint64_t>(record.rows);
  totals_.padding_rows += static_cast<std::uint64_t>(record.padding_rows);
  if (records_.size() < most_records) records_.push_back(record);
}

void execution_recorder::start() {
  std::lock_guard lock(mutex_);
  since_ = std::chrono::steady_clock::now();
  totals_ = {};
  records_.clear();
}

execution_recorder::counts execution_recorder::totals() const {
  std::lock_guard lock(mutex_);
  return totals_;
}

std::vector<timeline_bar> execution_recorder::bars(const std::vector<std::size_t>& cores) const {
  std::lock_guard lock(mutex_);
  std::vector<timeline_bar> result;
  if (records_.empty()) return result;
  const auto zero = records_.front().enqueued;
  const auto at = [&](execution_record::time_point time) {
    return std::chrono::duration<double, std::milli>(time - zero).count();
  };
  for (const auto& r : records_) {
    const auto lane = static_cast<std::size_t>(std::find(cores.begin(), cores.end(), r.core) - cores.begin());
    result.push_back({lane, at(r.enqueued), at(r.formed), at(r.started), at(r.computed), at(r.gathered), r.rows,
                      r.padding_rows, r.failed});
  }
  return result;
}

}  // namespace ganglion::command

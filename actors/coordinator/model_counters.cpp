#include <ganglion/actors/coordinator/model_counters.hpp>

namespace ganglion {

namespace {

constexpr auto relaxed = std::memory_order_relaxed;

}  // namespace

model_counters::model_counters() : parts_(std::make_unique<std::array<part, part_count>>()) {}

model_counters::part& model_counters::mine() {
  static std::atomic<std::size_t> threads{0};
  thread_local const std::size_t index = threads.fetch_add(1, relaxed) % part_count;
  return (*parts_)[index];
}

void model_counters::accepted(std::int64_t rows, std::int64_t bytes) {
  auto& p = mine();
  p.queued_rows.fetch_add(rows, relaxed);
  p.queued_bytes.fetch_add(bytes, relaxed);
  p.unanswered.fetch_add(1, relaxed);
  p.rows.fetch_add(static_cast<std::uint64_t>(rows), relaxed);
}

void model_counters::left_queue(std::int64_t rows, std::int64_t bytes) {
  auto& p = mine();
  p.queued_rows.fetch_sub(rows, relaxed);
  p.queued_bytes.fetch_sub(bytes, relaxed);
}

void model_counters::answered(const response& result) {
  auto& p = mine();
  p.unanswered.fetch_sub(1, relaxed);
  p.outcomes[static_cast<std::size_t>(result.code())].fetch_add(1, relaxed);
  if (!result.ok() || result.timing.executions == 0) return;
  const auto& t = result.timing;
  p.queued.add(t.queued);
  p.compute.add(t.compute);
  p.total.add(t.queued + t.compute + t.gather);
}

void model_counters::refused(errc why) { mine().outcomes[static_cast<std::size_t>(why)].fetch_add(1, relaxed); }

void model_counters::durations::add(std::chrono::nanoseconds t) {
  counts[histogram::bucket_of(t)].fetch_add(1, relaxed);
  sum_ns.fetch_add(t.count(), relaxed);
}

void model_counters::durations::read(histogram& into) const {
  std::int64_t sum = sum_ns.load(relaxed);
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (auto count = counts[i].load(relaxed); count > 0) into.add(i, count, std::exchange(sum, 0));
}

std::int64_t model_counters::queued_rows() const {
  std::int64_t rows = 0;
  for (const auto& p : *parts_) rows += p.queued_rows.load(relaxed);
  return std::max<std::int64_t>(rows, 0);
}

void model_counters::read(model_status& into) const {
  std::int64_t queued_bytes = 0, unanswered = 0;
  into.outcomes.assign(errc_count, 0);
  into.rows = 0;
  into.queued = into.compute = into.total = {};
  for (const auto& p : *parts_) {
    queued_bytes += p.queued_bytes.load(relaxed);
    unanswered += p.unanswered.load(relaxed);
    into.rows += p.rows.load(relaxed);
    for (std::size_t i = 0; i < errc_count; ++i) into.outcomes[i] += p.outcomes[i].load(relaxed);
    p.queued.read(into.queued);
    p.compute.read(into.compute);
    p.total.read(into.total);
  }
  // What came and went between two parts may be seen to go alone.
  auto count = [](std::int64_t n) { return static_cast<std::uint64_t>(std::max<std::int64_t>(n, 0)); };
  into.queued_rows = count(queued_rows());
  into.queued_bytes = count(queued_bytes);
  into.unanswered = count(unanswered);
}

}  // namespace ganglion

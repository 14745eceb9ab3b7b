#include <ganglion/actors/batcher/formation.hpp>
#include <ganglion/actors/batcher/free_time.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace ganglion {

double free_after(std::span<const double> busy, double work) {
  auto time = std::numeric_limits<double>::infinity();
  for (;;) {
    // Those that are busy for longer than what was found have no part in it.
    auto sum = work;
    std::size_t counted = 0;
    for (auto b : busy) {
      if (b > time) continue;
      sum += b;
      ++counted;
    }
    // None are left where rounding put the time below equal cores.
    const auto found = counted > 0 ? sum / static_cast<double>(counted) : time;
    if (!(found < time)) return std::max(time, std::ranges::min(busy));
    time = found;
  }
}

std::size_t formation::at_once(const deployment_state& d) const {
  const auto up = cores_.count_up(d.group);
  return std::max<std::size_t>(1, std::min(up, d.num_workers.value_or(up)));
}

double formation::seconds_before(const bucket_state& b, const request& r, std::int64_t& open) {
  const auto p = r.options().priority;
  const auto begun = b.queue.rows_begun(p);
  const auto waiting = b.queue.rows_before(p, r.options().tenant) - begun;
  const auto apart = b.queue.apart_from(r);
  const auto share = b.queue.rows() > 0 ? static_cast<double>(waiting) / static_cast<double>(b.queue.rows()) : 0.0;
  const auto together = waiting - std::llround(share * static_cast<double>(apart.rows));
  // Its rows go with those of the batch that is open when it comes.
  open = r.joinable() ? together % b.cover.largest() : 0;
  auto seconds = b.cover.cost(begun + together - open);
  if (apart.executions > 0) {
    const auto rows = std::clamp<std::int64_t>(apart.rows / apart.executions, 1, b.cover.largest());
    seconds += share * static_cast<double>(apart.executions) * b.cover.seconds(b.cover.fit(rows), 0);
  }
  return seconds;
}

double formation::seconds_beside(const deployment_state& d, const bucket_state& own, priority p, double before) const {
  // The other queues for these cores take turns with its own: of its class they get as much as that, and an execution.
  const auto turn = before + own.cover.seconds(own.cover.largest(), 0);
  auto share_cores = [&d](const deployment_state& other) {
    return std::ranges::find_first_of(d.target->cores, other.target->cores) != d.target->cores.end();
  };
  double seconds = 0;
  for (const auto& [id, other] : deployments_) {
    if (!share_cores(other)) continue;
    for (const auto& b : other.buckets) {
      if (&b == &own) continue;
      auto urgent = b.queue.rows_begun(p);
      if (p != priority::high) urgent += b.queue.rows_up_to(static_cast<priority>(static_cast<int>(p) - 1));
      auto first = b.cover.cost(urgent);
      seconds += first + std::min(turn, b.cover.cost(b.queue.rows_begun(p) + b.queue.rows_up_to(p)) - first);
    }
  }
  return seconds;
}

std::vector<double> formation::busy_cores(const deployment_state& d, clock::time_point now) const {
  auto busy = cores_.measured_left(d.group, now);
  // At its cap it waits for a core that runs something of it.
  if (d.num_workers && d.in_flight >= *d.num_workers && std::ranges::any_of(busy, [](double b) { return b > 0; }))
    std::erase_if(busy, [](double b) { return b <= 0; });
  if (const auto most = at_once(d); busy.size() > most) {
    std::ranges::nth_element(busy, busy.begin() + static_cast<std::ptrdiff_t>(most));
    busy.resize(most);
  }
  if (busy.empty()) busy.push_back(0);  // whichever comes first
  return busy;
}

formation::expectation formation::expectation_of(const deployment_state& d, const request& r,
                                                 clock::time_point now) const {
  const auto& own = d.buckets[r.bucket()];
  std::int64_t open = 0;
  const auto own_before = seconds_before(own, r, open);
  const auto busy = busy_cores(d, now);
  // The work of others is done by all cores, its own by no more than its cap.
  const auto up = std::max(cores_.count_up(d.group), busy.size());
  const auto before = own_before + seconds_beside(d, own, r.options().priority, own_before) *
                                       static_cast<double>(busy.size()) / static_cast<double>(up);
  double all = own.cover.cost(open + r.rows());
  double first = std::min(all, own.cover.seconds(own.cover.largest(), 0));
  if (!r.joinable()) {
    const auto& plan = r.chunks();
    const auto rows = std::min(plan.chunk_rows(), plan.batch());
    const auto one = own.cover.seconds(r.dynamic_batching() ? own.cover.fit(rows) : plan.batch(), 0);
    all = one * static_cast<double>(plan.executions());
    // Those of one chunk follow each other on one core.
    first = all / static_cast<double>(std::max<std::size_t>(1, plan.size()));
  }
  const auto wait = free_after(busy, before);
  return {wait, all > first ? std::max(first, free_after(busy, before + all) - wait) : all};
}

}  // namespace ganglion

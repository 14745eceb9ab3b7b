#include "bench_input.hpp"
#include "bench_load.hpp"
#include "bench_schedule.hpp"
#include "bench_statistics.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

namespace ganglion::command {

namespace {

using clock = std::chrono::steady_clock;

enum class outcome : std::uint8_t { open, answered, refused, cancelled };

clock::duration as_duration(double seconds) {
  return std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds));
}

double seconds_between(clock::time_point from, clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// When requests are due. The first one is where time begins, so that there is one at every rate.
std::vector<clock::time_point> due_times(const arrivals& plan, clock::time_point begin) {
  std::vector<clock::time_point> due;
  poisson_schedule schedule{plan.qps, plan.seed};
  const auto length = as_duration(plan.seconds);
  for (auto at = std::chrono::nanoseconds{0}; at < length; at = schedule.next()) due.push_back(begin + at);
  return due;
}

/// The requests of one load. Answers come on threads of the engine, the last ones maybe when nobody waits any more, so
/// they share it.
class flight {
 public:
  flight(std::size_t count, const bench_request& request, const compiled_model& model)
      : latencies_(count), rows_(count), outcomes_(count), open_(count + 1), asked_(request.rows), counter_(model) {}

  void end(std::size_t number, clock::time_point due, const response& r) {
    auto came_to = outcome::answered;
    if (r.ok()) {
      latencies_[number] = seconds_between(due, clock::now());
      rows_[number] = counter_.rows_in(r.outputs, asked_);
    } else if (r.code() == errc::queue_full) {
      came_to = outcome::refused;
    } else {
      came_to = outcome::cancelled;
      if (r.code() != errc::cancelled) remember(r.error);
    }
    outcomes_[number].store(came_to, std::memory_order_release);
    close(1);
  }

  /// So many fewer are to come.
  void close(std::size_t count) {
    if (open_.fetch_sub(count) == count) all_ended_.set_value();
  }
  bool ended_until(clock::time_point when) { return ended_.wait_until(when) == std::future_status::ready; }

  outcome of(std::size_t number) const { return outcomes_[number].load(std::memory_order_acquire); }
  /// Of one that was answered.
  double latency(std::size_t number) const { return latencies_[number]; }
  std::int64_t rows(std::size_t number) const { return rows_[number]; }
  void throw_problem() {
    std::lock_guard lock(mutex_);
    if (problem_) throw error(*problem_);
  }

 private:
  void remember(const failure& f) {
    std::lock_guard lock(mutex_);
    if (!problem_) problem_ = f;
  }

  std::vector<double> latencies_;
  std::vector<std::int64_t> rows_;
  std::vector<std::atomic<outcome>> outcomes_;
  std::atomic<std::size_t> open_;
  std::promise<void> all_ended_;
  std::future<void> ended_ = all_ended_.get_future();
  const std::int64_t asked_;
  const row_counter counter_;
  std::mutex mutex_;
  std::optional<failure> problem_;
};

/// Finds out, while a load goes on, that its p99 is above a bound whatever comes.
class late_requests {
 public:
  late_requests(const flight& of, const std::vector<clock::time_point>& due, std::optional<double> bound)
      : of_(of), due_(due), bound_(bound), most_(most_above_p99(due.size())) {}

  /// Looks at all of the first `sent` requests that are older than the bound.
  bool too_many(std::size_t sent, clock::time_point now) {
    if (!bound_) return false;
    for (; seen_ < sent && seconds_between(due_[seen_], now) > *bound_; ++seen_)
      late_ += of_.of(seen_) != outcome::answered || of_.latency(seen_) > *bound_;
    return late_ > most_;
  }

 private:
  const flight& of_;
  const std::vector<clock::time_point>& due_;
  std::optional<double> bound_;
  std::size_t most_;
  std::size_t seen_ = 0;
  std::size_t late_ = 0;
};

}  // namespace

load_result run_server(data_parallel& net, const bench_request& request, const arrivals& plan) {
  constexpr auto second = std::chrono::seconds(1);
  const auto length = as_duration(plan.seconds);
  const auto begin = clock::now();
  const auto due = due_times(plan, begin);
  const auto give_up = begin + length + std::max<clock::duration>(length, second);
  const auto requests = std::make_shared<flight>(due.size(), request, net.model());
  late_requests late{*requests, due, plan.bound};
  std::stop_source stop;
  load_result result;

  std::size_t sent = 0;
  while (sent < due.size() && !(result.cut_short = late.too_many(sent, clock::now()))) {
    std::this_thread::sleep_until(due[sent]);
    request_options options;
    options.stop = stop.get_token();
    net.start(request.arguments, std::move(options),
              [requests, number = sent, at = due[sent]](response&& r) { requests->end(number, at, r); });
    ++sent;
  }
  requests->close(due.size() - sent + 1);
  // Without a bound there is nothing to look at meanwhile.
  const auto look_again = plan.bound ? as_duration(std::clamp(*plan.bound / 10, 0.001, 0.1)) : give_up - begin;
  bool ended = false;
  while (!result.cut_short && clock::now() < give_up && !ended) {
    ended = requests->ended_until(std::min(give_up, clock::now() + look_again));
    result.cut_short = !ended && late.too_many(sent, clock::now());
  }
  const auto now = clock::now();
  result.seconds = seconds_between(begin, result.cut_short ? now : std::max(now, begin + length));
  for (std::size_t i = 0; i < sent; ++i) {
    switch (requests->of(i)) {
      case outcome::answered:
        result.latencies.push_back(requests->latency(i));
        result.rows_answered += requests->rows(i);
        break;
      case outcome::refused:
        ++result.requests_refused;
        result.unanswered_ages.push_back(seconds_between(due[i], give_up));
        break;
      default: ++result.requests_abandoned; result.unanswered_ages.push_back(seconds_between(due[i], now));
    }
  }
  // The next load is not to find what this one has left.
  stop.request_stop();
  requests->ended_until(clock::now() + second);
  requests->throw_problem();

  result.requests_sent = static_cast<std::int64_t>(sent);
  result.requests_answered = static_cast<std::int64_t>(result.latencies.size());
  result.rows_sent = result.requests_sent * request.rows;
  result.rows_per_second = static_cast<double>(result.rows_answered) / result.seconds;
  return result;
}

}  // namespace ganglion::command

#include "bench_input.hpp"
#include "bench_load.hpp"
#include "bench_schedule.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

namespace ganglion::command {

namespace {

using clock = std::chrono::steady_clock;

struct pending {
  clock::time_point due;
  std::future<c10::IValue> answer;
};

/// From the thread that sends to the one that awaits.
class hand_over {
 public:
  void push(pending p) {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(p));
    changed_.notify_one();
  }
  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_one();
  }
  /// Nothing when all were taken and no more will come.
  std::optional<pending> pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || !queue_.empty(); });
    if (queue_.empty()) return {};
    auto first = std::move(queue_.front());
    queue_.pop_front();
    return first;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<pending> queue_;
  bool closed_ = false;
};

/// Awaits the answers in the order of their requests, which all take the same time.
class collector {
 public:
  collector(const data_parallel& net, std::int64_t rows, clock::time_point give_up, load_result& result)
      : model_(net.model()), rows_(rows), give_up_(give_up), result_(result) {}

  void run(hand_over& from) {
    while (auto next = from.pop()) {
      try {
        take(*next);
      } catch (const error& e) {
        if (e.failure().code == errc::queue_full)
          ++result_.requests_refused;
        else if (!problem)
          problem = std::current_exception();
      } catch (...) {
        if (!problem) problem = std::current_exception();
      }
    }
  }

  clock::time_point last;
  std::exception_ptr problem;

 private:
  void take(pending& next) {
    if (next.answer.wait_until(give_up_) != std::future_status::ready) {
      ++result_.requests_abandoned;
      return;
    }
    const auto answer = next.answer.get();
    last = clock::now();
    result_.latencies.push_back(std::chrono::duration<double>(last - next.due).count());
    ++result_.requests_answered;
    result_.rows_answered += rows_in(answer, model_, rows_);
  }

  const compiled_model model_;
  std::int64_t rows_;
  clock::time_point give_up_;
  load_result& result_;
};

}  // namespace

load_result run_server(data_parallel& net, const bench_request& request, double qps, double seconds) {
  constexpr std::uint64_t seed = 1;
  const auto length = std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds));
  const auto begin = clock::now();
  load_result result;
  hand_over under_way;
  const auto patience = std::max<clock::duration>(length, std::chrono::seconds(1));
  collector answers{net, request.rows, begin + length + patience, result};
  std::thread waiting([&] { answers.run(under_way); });

  std::int64_t sent = 0;
  poisson_schedule arrivals{qps, seed};
  // The first arrival is where time begins, so that there is one at every rate.
  for (auto at = std::chrono::nanoseconds{0}; at < length; at = arrivals.next()) {
    std::this_thread::sleep_until(begin + at);
    under_way.push({begin + at, net.submit(request.arguments)});
    ++sent;
  }
  under_way.close();
  waiting.join();
  if (answers.problem) std::rethrow_exception(answers.problem);

  result.requests_sent = sent;
  result.rows_sent = sent * request.rows;
  result.seconds = std::chrono::duration<double>(std::max(answers.last, begin + length) - begin).count();
  result.rows_per_second = static_cast<double>(result.rows_answered) / result.seconds;
  return result;
}

}  // namespace ganglion::command

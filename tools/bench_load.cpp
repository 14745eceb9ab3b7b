#include "bench_load.hpp"

#include "bench_input.hpp"
#include "command.hpp"

#include <ganglion/model_io/value_tree.hpp>

#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>

namespace ganglion::command {

namespace {

using clock = std::chrono::steady_clock;

double seconds_between(clock::time_point from, clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

clock::time_point later(clock::time_point from, double seconds) {
  return from + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds));
}

std::int64_t bytes_of(const bench_request& request) {
  std::int64_t bytes = 0;
  for (const auto& argument : request.arguments)
    for (const auto& leaf : leaves_of(argument))
      if (leaf.value.isTensor()) bytes += static_cast<std::int64_t>(leaf.value.toTensor().nbytes());
  return bytes;
}

void refuse_too_many_rows(const compiled_model& model, std::int64_t rows) {
  double row_bytes = 0;
  for (const auto& spec : model.inputs()) {
    double bytes = static_cast<double>(c10::elementSize(spec.dtype));
    for (const auto size : spec.shape) bytes *= static_cast<double>(size);
    row_bytes += spec.shape.empty() ? 0 : bytes / static_cast<double>(spec.shape[0]);
  }
  refuse_more_than_memory(fmt::format("a request of {}", counted(rows, "row")), static_cast<double>(rows) * row_bytes,
                          "give a smaller --batch");
}

}  // namespace

bench_request make_request(const compiled_model& model, std::int64_t rows, std::uint64_t seed) {
  refuse_too_many_rows(model, rows);
  return {random_arguments(model, rows, seed), rows};
}

load_result run_offline(data_parallel& net, const bench_request& request, double seconds, std::size_t in_flight) {
  struct pending {
    clock::time_point sent;
    std::future<c10::IValue> answer;
  };
  load_result result;
  const row_counter counter{net.model()};
  std::deque<pending> queue;
  const auto send = [&] {
    queue.push_back({clock::now(), net.submit(request.arguments)});
    ++result.requests_sent;
    result.rows_sent += request.rows;
  };

  constexpr std::int64_t least_answers = 3;
  const auto begin = clock::now(), end = later(begin, seconds);
  const auto more = [&](clock::time_point at) { return at < end || result.requests_answered < least_answers; };
  for (std::size_t i = 0; i < in_flight; ++i) send();
  // From the first answer on the queue is as full as it will be, and it is so until the last request is sent.
  clock::time_point full_from{}, full_to{};
  std::int64_t full_rows = 0;
  auto now = begin;
  while (!queue.empty()) {
    const auto answer = queue.front().answer.get();
    const auto rows = counter.rows_in(answer, request.rows);
    const bool sending = more(now);
    now = clock::now();
    result.latencies.push_back(seconds_between(queue.front().sent, now));
    queue.pop_front();
    ++result.requests_answered;
    result.rows_answered += rows;
    if (full_from == clock::time_point{}) {
      full_from = now;
    } else if (sending) {
      full_rows += rows;
      full_to = now;
    }
    if (more(now)) send();
  }
  result.seconds = seconds_between(begin, now);
  result.rows_per_second = full_rows > 0 ? static_cast<double>(full_rows) / seconds_between(full_from, full_to)
                                         : static_cast<double>(result.rows_answered) / result.seconds;
  return result;
}

std::size_t warm_up_and_choose_in_flight(data_parallel& net, const bench_request& request, double seconds) {
  constexpr double work_in_flight = 0.05;
  constexpr double most = 256;
  const engine_options limits;
  const auto warm = run_single_stream(net, request, std::clamp(seconds / 10, 0.05, 1.0));
  const auto typical = *std::min_element(warm.latencies.begin(), warm.latencies.end());
  const auto by_rows = 0.5 * static_cast<double>(limits.max_queued_rows) / static_cast<double>(request.rows);
  const auto by_bytes = 0.5 * static_cast<double>(limits.max_queued_bytes) /
                        static_cast<double>(std::max<std::int64_t>(bytes_of(request), 1));
  const auto executions = std::ceil(static_cast<double>(request.rows) /
                                    static_cast<double>(compiled_rows(net.model())));
  const auto least = 1 + std::ceil(2 * static_cast<double>(net.cores().size()) / executions);
  const auto wanted = std::max(least, std::min(most, std::ceil(work_in_flight / typical)));
  return static_cast<std::size_t>(std::max(1.0, std::min({wanted, by_rows, by_bytes})));
}

load_result run_single_stream(data_parallel& net, const bench_request& request, double seconds) {
  load_result result;
  const row_counter counter{net.model()};
  const auto begin = clock::now(), end = later(begin, seconds);
  auto now = begin;
  do {
    const auto sent = now;
    const auto answer = net.submit(request.arguments).get();
    now = clock::now();
    ++result.requests_sent;
    ++result.requests_answered;
    result.rows_sent += request.rows;
    result.rows_answered += counter.rows_in(answer, request.rows);
    result.latencies.push_back(seconds_between(sent, now));
  } while (now < end);
  result.seconds = seconds_between(begin, now);
  result.rows_per_second = static_cast<double>(result.rows_answered) / result.seconds;
  return result;
}

}  // namespace ganglion::command

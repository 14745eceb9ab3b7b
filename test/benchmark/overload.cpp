// Ten times the rows that the cores can serve, for as long as it takes, with a bound on the expected waiting. Requests
// of one row arrive at random times, whatever becomes of those before. Told is how long an admitted request took,
// counted from when it should have been sent, what became of the others, and what the process kept in memory.
#include "measure.hpp"

#include <bench_schedule.hpp>
#include <bench_statistics.hpp>

#include <ganglion/engine/data_parallel.hpp>
#include <ganglion/model_io/replica.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>

namespace {

using namespace ganglion;
using namespace ganglion::benchmark;

constexpr std::int64_t compiled_batch = 8;
constexpr std::int64_t width = 256;
constexpr double wanted_execution = 0.013;
constexpr auto max_queue_time = std::chrono::milliseconds(100);

compiled_model compiled(std::int64_t repeats) {
  torch::jit::Module module("repeated_layer");
  module.register_parameter("weight", at::randn({width, width}) / 16, false);
  module.define(fmt::format("def forward(self, x):\n"
                            "  for _ in range({}):\n"
                            "    x = torch.tanh(torch.matmul(x, self.weight))\n"
                            "  return x\n", repeats));
  trace_options quickly;
  quickly.tune = false;
  return trace(module, {at::rand({compiled_batch, width})}, quickly);
}

/// A model of which an execution takes as long as wanted on this machine.
compiled_model slow_model() {
  constexpr std::int64_t tried = 50;
  auto program = compiled(tried).make_replica();
  auto seconds = program.warm_up();
  for (int i = 0; i < 10; ++i) seconds = std::min(seconds, program.warm_up());
  return compiled(std::llround(wanted_execution / seconds * tried));
}

struct outcomes {
  std::array<std::atomic<std::uint64_t>, errc_count> count{};
  std::mutex mutex;
  std::vector<double> admitted;    // seconds of each request that was answered well
  std::vector<double> executions;  // seconds of each execution
};

/// Sends for so long, and returns the seconds by which each request left too late.
std::vector<double> send(data_parallel& parallel, double per_second, double seconds, outcomes& seen) {
  command::poisson_schedule arrivals(per_second, 1);
  const auto row = at::rand({1, width});
  const auto begin = clock::now();
  std::vector<double> late;
  late.reserve(static_cast<std::size_t>(per_second * seconds * 1.1));
  for (;;) {
    const auto due = begin + arrivals.next();
    if (seconds_between(begin, due) >= seconds) return late;
    std::this_thread::sleep_until(due);
    late.push_back(seconds_between(due, clock::now()));
    parallel.start({row}, {}, [due, &seen](response&& r) {
      ++seen.count[static_cast<std::size_t>(r.code())];
      if (!r.ok()) return;
      const auto took = seconds_between(due, clock::now());
      std::lock_guard lock(seen.mutex);
      seen.admitted.push_back(took);
    });
  }
}

void run_all(const arguments& given, report& out) {
  outcomes seen;
  engine_options options;
  options.max_queue_time = max_queue_time;
  options.on_execution = [&](const execution_record& e) {
    std::lock_guard lock(seen.mutex);
    seen.executions.push_back(seconds_between(e.started, e.computed));
  };
  engine host(std::move(options));
  data_parallel parallel(host, slow_model());
  const auto cores = static_cast<double>(parallel.cores().size());
  const auto rate = 10 * cores * compiled_batch / wanted_execution;
  const auto expected = static_cast<std::size_t>(rate * given.seconds / 5);
  seen.admitted.reserve(expected);
  seen.executions.reserve(expected);

  outcomes not_counted;
  send(parallel, rate, given.seconds / 10, not_counted);
  {
    std::lock_guard lock(seen.mutex);
    seen.executions.clear();
  }
  const auto resident_at_begin = resident_bytes();
  std::vector<double> late;
  std::atomic<bool> sent{false};
  std::thread sender([&] {
    late = send(parallel, rate, given.seconds, seen);
    sent = true;
  });
  auto most_resident = resident_at_begin;
  while (!sent) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    most_resident = std::max(most_resident, resident_bytes());
  }
  sender.join();
  const auto resident_at_end = resident_bytes();
  host.drain(std::chrono::seconds(30));

  constexpr double mib = 1 << 20;
  std::lock_guard lock(seen.mutex);
  const auto admitted = command::summarize(seen.admitted);
  const auto execution = command::summarize(seen.executions);
  out.add("cores", cores);
  out.add("arrivals_per_second", rate);
  out.add("answers_per_second", static_cast<double>(admitted.count) / given.seconds);
  for (std::size_t code = 0; code < errc_count; ++code)
    if (auto n = seen.count[code].load(); n > 0)
      out.add(fmt::format("requests_{}", to_string(static_cast<errc>(code))), static_cast<double>(n));
  out.at_least("execution_p50_ms", execution.p50 * 1e3, 10);
  out.add("execution_p99_ms", execution.p99 * 1e3);
  out.add("max_queue_time_ms", static_cast<double>(max_queue_time.count()));
  out.add("admitted_p50_ms", admitted.p50 * 1e3);
  out.at_most("admitted_p99_ms", admitted.p99 * 1e3, static_cast<double>(max_queue_time.count()) + 2e3 * execution.p50);
  out.add("admitted_longest_ms", admitted.largest * 1e3);
  out.add("sent_late_p99_ms", command::summarize(late).p99 * 1e3);
  out.add("resident_at_begin_mib", static_cast<double>(resident_at_begin) / mib);
  out.add("resident_at_end_mib", static_cast<double>(resident_at_end) / mib);
  out.at_most("resident_growth_mib", static_cast<double>(most_resident - resident_at_begin) / mib, 32);
}

}  // namespace

int main(int argc, char** argv) { return run("overload", argc, argv, 60, run_all); }

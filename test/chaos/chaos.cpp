// Requests of random sizes, priorities, tenants, deadlines and cancellations, while the model throws, cores die and
// forwards hang. Every request must be answered exactly once, by the right rows or by an error that it can have, and
// most of them well; in the end nothing waits, and no thread and no memory is left.
#include "outcomes.hpp"
#include "process.hpp"

#include <support/faulty_lane.hpp>
#include <support/forward_gate.hpp>

#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <deque>
#include <random>
#include <thread>

namespace {

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

constexpr std::int64_t compiled_rows = 8;
constexpr std::int64_t features = 4;
constexpr std::size_t burst = 200;

std::uint64_t restarts_of(const engine& host) {
  std::uint64_t sum = 0;
  for (const auto& c : host.status().cores) sum += c.restarts;
  return sum;
}

struct settings {
  std::size_t requests = 100'000;
  std::uint32_t seed = 1;
  std::size_t cores = 6;
  std::size_t rate = 2'000;  ///< requests a second
};

/// Now and then lets a core die at its next execution, or a forward hang until its core was started again and for some
/// time more: in pairs of which one is that and the other this, so that a run of some length has both.
class saboteur {
 public:
  explicit saboteur(std::uint32_t seed) : random_(seed) {}
  ~saboteur() { stop(); }

  lane_factory lanes() {
    return lane_faults{[this](const auto&) {
             return kill_next_.exchange(false) ? lane_faults::fate::die : lane_faults::fate::run;
           }}.factory();
  }
  void start(const engine& host) {
    thread_ = std::thread{[this, &host] { run(host); }};
  }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  std::size_t deaths() const { return deaths_; }
  std::size_t hangs() const { return hangs_; }

 private:
  void run(const engine& host) {
    while (!stop_) {
      const bool kills_first = random_() % 2 == 0;
      for (bool kills : {kills_first, !kills_first}) {
        sleep(random_() % 1'000);
        const auto before = restarts_of(host);
        kills ? kill(host, before) : hang(host, before);
      }
    }
  }
  void kill(const engine& host, std::uint64_t restarts) {
    kill_next_ = true;
    while (kill_next_ && !stop_) sleep(1);
    if (kill_next_.exchange(false)) return;  // nothing ran any more
    ++deaths_;
    wait_for_restart(host, restarts);
  }
  void hang(const engine& host, std::uint64_t restarts) {
    forward_gate gate{1};
    while (!gate.stands(1) && !stop_) sleep(1);
    if (!gate.stands(1)) return;
    ++hangs_;
    wait_for_restart(host, restarts);
    sleep(random_() % 400);
  }
  static void wait_for_restart(const engine& host, std::uint64_t restarts) {
    for (const auto end = std::chrono::steady_clock::now() + 1min;
         restarts_of(host) == restarts && std::chrono::steady_clock::now() < end;)
      sleep(1);
  }
  static void sleep(std::size_t milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

  std::mt19937 random_;
  std::atomic<bool> stop_{false}, kill_next_{false};
  std::atomic<std::size_t> deaths_{0}, hangs_{0};
  std::thread thread_;
};

engine_options options_of(const settings& s, saboteur& faults) {
  engine_options options;
  options.host_cores = s.cores;
  options.pin = false;
  options.max_execution_time = 100ms;
  options.log = [](log_level, std::string_view) {};
  options.make_lane = faults.lanes();
  return options;
}

/// Sends one random request, and says what may become of it.
class client {
 public:
  client(data_parallel& parallel, outcomes& all, std::uint32_t seed) : parallel_(parallel), all_(all), random_(seed) {}

  void send(std::size_t number) {
    expectation expected;
    auto rows = static_cast<std::int64_t>(1 + below(below(10) == 0 ? 60 : 9));
    auto x = at::rand({rows, features});
    if (below(150) == 0) {
      x[static_cast<std::int64_t>(below(static_cast<std::size_t>(rows)))].fill_(1e7);
      expected.must_fail = true;
    }
    request_options options;
    options.priority = static_cast<priority>(below(3));
    options.tenant = std::string(below(3), 't');
    if (below(20) == 0) {
      options.deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(below(3'000));
      expected.may_expire = true;
    }
    if (below(50) == 0) options.outputs = {at::zeros({rows, features})};
    std::stop_source stop;
    if (below(20) == 0) {
      options.stop = stop.get_token();
      expected.may_be_cancelled = true;
    }
    expected.answer = x + 1;
    all_.expect(number, std::move(expected));
    parallel_.start({x}, std::move(options), [this, number](response&& r) { all_.answered(number, r); });
    if (stop.get_token().stop_possible()) stops_.push_back(std::move(stop));
    if (stops_.size() > below(3)) cancel_oldest();
  }
  void cancel_oldest() {
    stops_.front().request_stop();
    stops_.pop_front();
  }

 private:
  std::size_t below(std::size_t n) { return random_() % n; }

  data_parallel& parallel_;
  outcomes& all_;
  std::mt19937 random_;
  std::deque<std::stop_source> stops_;
};

/// That a run was no idyll, and no ruin.
void expect_enough(const settings& s, const saboteur& faults, const outcomes& all, problems& found) {
  // A pair of faults takes about three seconds at most, in which it gets no more than 6,000 requests.
  const auto least = s.requests / 10'000;
  found.expect(faults.deaths() >= least && faults.hangs() >= least, "too few cores died or hung");
  // Whatever a core was lost with runs once more, each request by itself: a fault costs one request at the most.
  all.expect_at_most(errc::core_lost, faults.deaths() + faults.hangs());
  if (s.requests < 1'000) return;
  all.expect_share(errc::ok, 0.85);
  for (auto code : {errc::forward_failed, errc::deadline_exceeded, errc::cancelled}) all.expect_share(code, 0.001);
}

void run(const settings& s, problems& found) {
  outcomes all{s.requests, found};
  saboteur faults{s.seed};
  std::uint64_t restarts = 0;
  const auto begin = std::chrono::steady_clock::now();
  {
    trace_options quickly;
    quickly.tune = false;
    engine host{options_of(s, faults)};
    data_parallel parallel{host, trace(gated_plus_one(), {at::ones({compiled_rows, features})}, quickly)};
    client sender{parallel, all, s.seed};
    faults.start(host);
    for (std::size_t i = 0; i < s.requests; ++i) {
      if (i % burst == 0) std::this_thread::sleep_until(begin + i * std::chrono::nanoseconds(1s) / s.rate);
      all.wait_for_less_than(2'000, i);
      sender.send(i);
    }
    all.wait_for_less_than(1, s.requests);
    faults.stop();
    found.expect(wait_for_abandoned_lanes(1min), "a thread that was let go has not ended");
    restarts = restarts_of(host);
    const auto status = host.status();
    found.expect(status.queued_rows == 0 && status.queued_bytes == 0, "something waits in the end");
    found.expect(status.unanswered == 0, "something is unanswered in the end");
    found.expect(status.executions_in_flight == 0, "something runs in the end");
  }
  found.expect(restarts >= faults.deaths() + faults.hangs(), "a core that died or hung was not started again");
  expect_enough(s, faults, all, found);
  fmt::print("{}\n{} deaths, {} hangs, {} restarts in {:.1f} s\n", all.summary(), faults.deaths(), faults.hangs(),
             restarts, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}

}  // namespace

int main(int argc, char** argv) {
  settings s;
  CLI::App app{"Random requests under random faults"};
  app.add_option("--requests", s.requests)->capture_default_str();
  app.add_option("--seed", s.seed)->capture_default_str();
  app.add_option("--cores", s.cores)->capture_default_str();
  app.add_option("--rate", s.rate, "requests a second")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  problems found;
  settings few = s;
  few.requests = 500;
  run(few, found);  // what is made once a process
  const auto before = process_size();
  run(s, found);
  found.expect_no_more_than(before);
  return found.report();
}

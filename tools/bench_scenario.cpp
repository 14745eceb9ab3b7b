#include "bench_scenario.hpp"

#include "bench_schedule.hpp"
#include "bench_search.hpp"
#include "bench_statistics.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ganglion::command {

namespace {

/// A window that decides over a rate has at least so many requests, if --seconds has room for them: the p99 of fewer is
/// the largest of them.
constexpr double least_arrivals = 100;
/// And it lasts for so many times the target: what piles up in a shorter one has no time to become late.
constexpr double least_targets = 10;

double least_seconds(const bench_options& given) { return least_targets * given.target_p99.value_or(0); }

/// The scenario server on one data_parallel.
class server_run {
 public:
  server_run(const bench_session& session, execution_recorder& recorder, data_parallel& net, bench_request request)
      : session_(session), recorder_(recorder), net_(net), request_(std::move(request)) {}

  measured_load at_fixed_rate(double qps) {
    auto measured = windows(qps, session_.given.seconds / windows_that_count, {});
    keep(measured.load, qps, rate_purpose::given);
    return measured;
  }

  /// The measured load of the highest rate that holds, or of the last one tried; `qps` is which.
  measured_load search(double first, double highest, double& qps, rate_search_result& result) {
    rate_search search{{.first = first, .highest = highest}};
    measured_load last;
    while (const auto rate = search.next()) {
      qps = *rate;
      const auto seconds = window_seconds(qps);
      if (search.confirming()) {
        session_.progress.stage(fmt::format("server: confirming {:.4g} requests/s", qps));
        last = windows(qps, seconds, session_.given.target_p99);
      } else {
        session_.progress.stage(fmt::format("server: trying {:.4g} requests/s", qps));
        recorder_.start(1);
        auto load = window(qps, seconds, session_.given.target_p99);
        last = {load, seconds, {figure_of(scenario::server, load)}, {load.requests_sent}, false};
      }
      search.tell(keep(last.load, qps, search.confirming() ? rate_purpose::confirmation : rate_purpose::search));
    }
    result.found = search.found() > 0;
    result.ran_out = search.ran_out();
    return last;
  }

  void add_points_below(double qps) {
    std::vector<double> tried;
    for (const auto& rate : rates) tried.push_back(rate.qps);
    for (const auto rate : rates_between(qps, tried)) {
      session_.progress.stage(fmt::format("server: {:.4g} requests/s, for the picture", rate));
      keep(window(rate, window_seconds(rate), {}), rate, rate_purpose::picture);
    }
  }

  std::vector<tried_rate> rates;

 private:
  double window_seconds(double qps) const {
    const auto all = session_.given.seconds;
    const auto wanted = std::clamp(least_arrivals / qps, all / windows_that_count, all);
    return std::max(wanted, least_seconds(session_.given));
  }

  load_result window(double qps, double seconds, std::optional<double> bound) {
    return run_server(net_, request_, {qps, seconds, seed_of(session_.given.seed, seeds_used_++), bound});
  }

  measured_load windows(double qps, double seconds, std::optional<double> bound) {
    return measure_windows(
        seconds,
        [&](std::size_t number) {
          recorder_.start(number == 0 ? 1 : windows_that_count);
          return window(qps, seconds, bound);
        },
        [](const load_result& load) { return figure_of(scenario::server, load); });
  }

  /// Whether it held.
  bool keep(const load_result& load, double qps, rate_purpose purpose) {
    const auto target = session_.given.target_p99;
    const bool held = !load.cut_short && (!target || keeps(load, *target));
    rates.push_back({qps, p50_of_all(load), p99_of_all(load), static_cast<std::size_t>(load.requests_sent), held,
                     load.cut_short, purpose});
    return held;
  }

  const bench_session& session_;
  execution_recorder& recorder_;
  data_parallel& net_;
  bench_request request_;
  std::uint64_t seeds_used_ = 0;
};

void measure_server(const bench_session& session, execution_recorder& recorder, data_parallel& net,
                    const bench_request& request, std::size_t in_flight, scenario_result& result) {
  server_run server{session, recorder, net, request};
  const auto& given = session.given;
  if (given.qps) {
    session.progress.stage("server");
    result.qps = given.qps;
    result.measured = server.at_fixed_rate(*given.qps);
  } else {
    session.progress.stage("server: what the cores can do at all");
    const auto all = run_offline(net, request, given.seconds / windows_that_count, in_flight);
    result.search.emplace();
    result.search->first_guess = 0.5 * all.rows_per_second / static_cast<double>(request.rows);
    result.measured = server.search(result.search->first_guess,
                                    most_arrivals / std::max(given.seconds, least_seconds(given)), result.qps.emplace(),
                                    *result.search);
  }
  recorder.stop();
  if (!given.picture.empty()) server.add_points_below(*result.qps);
  result.rates = std::move(server.rates);
}

}  // namespace

double figure_of(scenario kind, const load_result& load) {
  switch (kind) {
    case scenario::offline: return load.rows_per_second;
    case scenario::single_stream: return summarize(load.latencies).p90;
    case scenario::server: return p99_of_all(load);
  }
  return 0;
}

scenario_result measure_scenario(const bench_session& session, execution_recorder& recorder) {
  const auto kind = session.given.scenario;
  session.progress.stage("warming up");
  auto net = session.net_on(session.cores.size());
  const auto request = session.request_for(kind, session.cores.size());
  const auto in_flight = warm_up_and_choose_in_flight(net, request, session.given.seconds);
  scenario_result result;
  result.request_rows = request.rows;
  if (kind == scenario::server) {
    measure_server(session, recorder, net, request, in_flight, result);
  } else {
    session.progress.stage(scenario_name(kind));
    const auto seconds = session.given.seconds / windows_that_count;
    result.measured = measure_windows(
        seconds,
        [&](std::size_t number) {
          recorder.start(number == 0 ? 1 : windows_that_count);
          return kind == scenario::offline ? run_offline(net, request, seconds, in_flight)
                                           : run_single_stream(net, request, seconds);
        },
        [kind](const load_result& load) { return figure_of(kind, load); });
  }
  result.warnings = net.warnings();
  return result;
}

}  // namespace ganglion::command

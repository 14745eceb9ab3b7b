#include "bench_scaling.hpp"

#include "bench_reference.hpp"
#include "bench_statistics.hpp"

namespace ganglion::command {

scaling_result measure_scaling(const bench_session& session) {
  constexpr int rounds = 3;
  const auto cores = session.cores.size();
  const auto window = session.given.seconds / rounds;
  auto one = session.net_on(1);
  auto all = session.net_on(cores);
  const auto request_of_one = session.request_for(scenario::offline, 1);
  const auto request_of_all = session.request_for(scenario::offline, cores);

  scaling_result result;
  result.cores = cores;
  session.progress.stage("comparing with the module run alone");
  result.largest_difference = largest_difference(session.model, request_of_all, all(request_of_all.arguments));

  session.progress.stage("warming up");
  const auto in_flight_of_one = warm_up_and_choose_in_flight(one, request_of_one, session.given.seconds);
  const auto in_flight_of_all = warm_up_and_choose_in_flight(all, request_of_all, session.given.seconds);
  session.progress.stage("scaling: one core and all of them in turn");
  std::vector<double> rates_of_one, rates_of_all;
  std::vector<figure_pair> pairs;
  for (int i = 0; i < rounds; ++i) {
    rates_of_one.push_back(run_offline(one, request_of_one, window, in_flight_of_one).rows_per_second);
    rates_of_all.push_back(run_offline(all, request_of_all, window, in_flight_of_all).rows_per_second);
    pairs.push_back({rates_of_all.back(), static_cast<double>(cores) * rates_of_one.back()});
  }
  result.one_rows_per_second = median(rates_of_one);
  result.all_rows_per_second = median(rates_of_all);
  result.scaling = median_ratio(pairs);
  return result;
}

}  // namespace ganglion::command

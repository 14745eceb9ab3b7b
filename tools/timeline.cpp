#include "timeline.hpp"

#include <algorithm>
#include <utility>

namespace ganglion::command {

namespace {

std::vector<depth_step> depth_between(const std::vector<timeline_bar>& run, double from, double to) {
  std::vector<std::pair<double, int>> changes;
  for (const auto& bar : run) {
    changes.emplace_back(bar.enqueued, 1);
    changes.emplace_back(bar.started, -1);
  }
  // What comes and what goes at one moment is one step, whichever is counted first.
  std::sort(changes.begin(), changes.end());
  std::vector<depth_step> steps{{0, 0}};
  std::ptrdiff_t waiting = 0;
  for (const auto& [at, change] : changes) {
    if (at >= to) break;
    waiting += change;
    const auto time = std::max(at - from, 0.0);
    if (time > steps.back().at) steps.push_back({time, 0});
    steps.back().waiting = static_cast<std::size_t>(std::max<std::ptrdiff_t>(waiting, 0));
  }
  return steps;
}

}  // namespace

timeline middle_of(std::vector<timeline_bar> run, std::size_t most) {
  timeline result;
  if (run.empty() || most == 0) return result;
  std::sort(run.begin(), run.end(), [](const auto& a, const auto& b) { return a.started < b.started; });
  const auto count = std::min(most, run.size());
  const auto first = (run.size() - count) / 2;
  const auto from = run.size() == count ? std::min_element(run.begin(), run.end(), [](const auto& a, const auto& b) {
                                            return a.enqueued < b.enqueued;
                                          })->enqueued
                                        : run[first].started;
  double to = from;
  for (std::size_t i = first; i < first + count; ++i) to = std::max(to, run[i].gathered);
  result.length = to - from;
  result.depth = depth_between(run, from, to);
  for (auto bar : run) {
    if (bar.gathered <= from || bar.started >= to) continue;
    for (auto* time : {&bar.enqueued, &bar.formed, &bar.started, &bar.computed, &bar.gathered}) *time -= from;
    result.bars.push_back(bar);
  }
  return result;
}

std::vector<packed_interval> packed(const std::vector<interval>& intervals, std::size_t most) {
  std::vector<double> taken_until;
  std::vector<packed_interval> places;
  for (const auto& i : intervals) {
    auto row = std::find_if(taken_until.begin(), taken_until.end(), [&](double end) { return end <= i.begin; });
    if (row == taken_until.end())
      row = taken_until.size() < most ? taken_until.insert(row, i.begin) : std::min_element(taken_until.begin(), row);
    places.push_back({static_cast<std::size_t>(row - taken_until.begin()), std::max(*row, i.begin)});
    *row = i.end;
  }
  return places;
}

}  // namespace ganglion::command

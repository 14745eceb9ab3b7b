#include "tune_choice.hpp"

#include "counted.hpp"
#include "svg.hpp"

#include <algorithm>
#include <map>

namespace ganglion::command {

namespace {

constexpr double near_enough = 0.95;

std::string cores_text(const tune_point& p) {
  return fmt::format("{} of {}", counted(static_cast<std::int64_t>(p.cores), "core"),
                     counted(static_cast<std::int64_t>(p.threads_per_core), "thread"));
}

}  // namespace

tune_choice recommend(const std::vector<tune_point>& points, const std::string& noun) {
  tune_choice choice;
  for (std::size_t i = 1; i < points.size(); ++i)
    if (points[i].rows_per_second > points[choice.fastest].rows_per_second) choice.fastest = i;
  const auto& best = points[choice.fastest];
  choice.low_latency = choice.fastest;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const auto& now = points[choice.low_latency];
    if (points[i].rows_per_second < near_enough * best.rows_per_second || points[i].batch > now.batch) continue;
    if (points[i].batch < now.batch || points[i].p50 < now.p50) choice.low_latency = i;
  }
  choice.reason = fmt::format("a batch of {} on {} gives the most: {:.2f} {}s/s, {:.3f} ms a batch", best.batch,
                              cores_text(best), best.rows_per_second, noun, 1e3 * best.p50);
  const auto& low = points[choice.low_latency];
  if (choice.low_latency == choice.fastest)
    choice.reason += "; no smaller batch is within 5 % of it";
  else
    choice.reason += fmt::format(
        "; where latency counts take a batch of {} on {}: {:.2f} {}s/s, {:.1f} % less, in "
        "{:.3f} ms a batch",
        low.batch, cores_text(low), low.rows_per_second, noun, 100 * (1 - low.rows_per_second / best.rows_per_second),
        1e3 * low.p50);
  return choice;
}

chart tune_chart(const std::vector<tune_point>& points, const tune_choice& choice, const std::string& noun) {
  std::map<std::size_t, std::pair<chart_line, chart_line>> by_threads;  // throughput and latency
  for (const auto& p : points) {
    auto& [throughput, latency] = by_threads[p.threads_per_core];
    throughput.name = latency.name = cores_text(p);
    const auto x = static_cast<double>(p.batch);
    throughput.points.push_back(
        {x, p.rows_per_second, false,
         fmt::format("batch {}, {}: {:.2f} {}s/s", p.batch, cores_text(p), p.rows_per_second, noun)});
    latency.points.push_back(
        {x, 1e3 * p.p50, false,
         fmt::format("batch {}, {}: p50 {:.3f} ms, p99 {:.3f} ms", p.batch, cores_text(p), 1e3 * p.p50, 1e3 * p.p99)});
  }
  chart_panel throughput, latency;
  throughput.x_label = latency.x_label = fmt::format("{}s a batch", noun);
  throughput.x_by_factors = latency.x_by_factors = true;
  throughput.y_label = fmt::format("throughput of all cores, {}s a second", noun);
  latency.y_label = "p50 of one batch at a time, milliseconds";
  latency.y_by_factors = true;
  for (auto& [threads, lines] : by_threads) {
    throughput.lines.push_back(std::move(lines.first));
    latency.lines.push_back(std::move(lines.second));
  }
  const auto& best = points[choice.fastest];
  const auto& low = points[choice.low_latency];
  throughput.marks.push_back({chart_mark::upright, static_cast<double>(best.batch), "the most"});
  if (low.batch != best.batch)
    latency.marks.push_back({chart_mark::upright, static_cast<double>(low.batch), "within 5 % of the most"});
  chart picture;
  picture.panels = {std::move(throughput), std::move(latency)};
  picture.note = choice.reason;
  return picture;
}

}  // namespace ganglion::command

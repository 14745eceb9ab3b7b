#include "bench_rates.hpp"

#include "svg.hpp"

#include <map>

namespace ganglion::command {

const char* purpose_name(rate_purpose purpose) {
  switch (purpose) {
    case rate_purpose::given: return "given";
    case rate_purpose::search: return "search";
    case rate_purpose::confirmation: return "confirmation";
    case rate_purpose::picture: return "picture";
  }
  return "";
}

chart rates_chart(const std::vector<tried_rate>& rates, std::optional<double> target, std::optional<double> chosen) {
  std::map<double, tried_rate> last;
  for (const auto& rate : rates) last[rate.qps] = rate;
  chart_line p50{"p50", {}, look::blue}, p99{"p99", {}, look::orange};
  bool any_missed = false;
  for (const auto& [qps, rate] : last) {
    const auto told = [&](const char* name, double seconds) {
      return fmt::format("{:.4g} requests/s: {} {}{:.3f} ms of {} requests", qps, name,
                         rate.cut_short ? "at least " : "", 1e3 * seconds, rate.requests);
    };
    p50.points.push_back({qps, 1e3 * rate.p50, !rate.held, told("p50", rate.p50)});
    p99.points.push_back({qps, 1e3 * rate.p99, !rate.held, told("p99", rate.p99)});
    any_missed = any_missed || !rate.held;
  }
  chart_panel panel;
  panel.x_label = "requests a second, at random times";
  panel.y_label = "latency from the scheduled arrival, milliseconds";
  panel.y_by_factors = true;
  panel.lines = {std::move(p50), std::move(p99)};
  if (target)
    panel.marks.push_back({chart_mark::across, 1e3 * *target, fmt::format("target: p99 {:g} ms", 1e3 * *target)});
  if (chosen) panel.marks.push_back({chart_mark::upright, *chosen, fmt::format("{:.4g} requests/s", *chosen)});
  chart picture;
  picture.panels = {std::move(panel)};
  if (any_missed)
    picture.note =
        "Hollow: the p99 of that rate missed the target. Of a rate that was cut short for it, "
        "latencies are at least as drawn.";
  return picture;
}

}  // namespace ganglion::command

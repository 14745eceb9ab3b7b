#include "watch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <numeric>

namespace ganglion::command {

namespace {

/// Three digits, and all that are before the point.
std::string short_text(double n) { return n < 99.95 ? fmt::format("{:.3g}", n) : fmt::format("{:.0f}", n); }

/// In the largest unit of which there is a whole one; each unit is `times` the one before it.
std::string in_units(double n, double times, std::initializer_list<const char*> units) {
  auto unit = units.begin();
  while (unit + 1 != units.end() && n >= times - 0.5) {
    n /= times;
    ++unit;
  }
  return (unit == units.begin() ? fmt::format("{:.0f}", n) : short_text(n)) + *unit;
}

/// `950`, `12.3k`, `4.56M`.
std::string short_number(double n) { return in_units(n, 1000, {"", "k", "M", "G"}); }

std::string short_bytes(std::uint64_t n) {
  return in_units(static_cast<double>(n), 1024, {" B", " KiB", " MiB", " GiB", " TiB"});
}

std::string short_time(std::chrono::nanoseconds t) {
  const auto seconds = std::chrono::duration<double>(t).count();
  return seconds < 0.9995 ? short_text(seconds * 1e3) + " ms" : short_text(seconds) + " s";
}

/// How much a counter grew; one that began anew counts from there.
template <class Number>
double growth(Number before, Number now) {
  return static_cast<double>(now < before ? now : now - before);
}

const char* state_of(const core_status& c) { return c.up ? "up" : c.lost ? "lost" : "starting"; }

std::string line_of(const core_status& c, const core_status& before, double seconds) {
  auto line = fmt::format("nc:{:<3} {:<8}", c.index, state_of(c));
  if (seconds > 0) {
    auto rows = growth(before.rows, c.rows), padding = growth(before.padding_rows, c.padding_rows);
    line += fmt::format(" {:>3.0f} % busy  {:>6} executions/s  {:>6} rows/s  {:>2.0f} % padding",
                        std::min(100.0, growth(before.busy_ns, c.busy_ns) / seconds * 1e-7),
                        short_number(growth(before.executions, c.executions) / seconds), short_number(rows / seconds),
                        rows + padding > 0 ? 100 * padding / (rows + padding) : 0);
  }
  if (c.restarts > 0) line += fmt::format("  {} restart{}", c.restarts, c.restarts == 1 ? "" : "s");
  return line;
}

std::uint64_t failed(const model_status& m) {
  return m.outcomes.empty() ? 0 : std::accumulate(m.outcomes.begin() + 1, m.outcomes.end(), std::uint64_t{0});
}

std::uint64_t answered(const model_status& m) { return m.outcomes.empty() ? 0 : m.outcomes.front(); }

std::string line_of(const model_status& m, const model_status& before, double seconds) {
  auto line = fmt::format("model {}  {} rows wait ({}), {} executions in flight", m.id,
                          short_number(double(m.queued_rows)), short_bytes(m.queued_bytes), m.executions_in_flight);
  if (seconds > 0)
    line += fmt::format(", {} requests/s well, {} not",
                        short_number(growth(answered(before), answered(m)) / seconds),
                        short_number(growth(failed(before), failed(m)) / seconds));
  if (const auto latest = m.total.since(before.total); latest.count() > 0)
    line += fmt::format(", p50 {}, p99 {}", short_time(latest.quantile(0.5)), short_time(latest.quantile(0.99)));
  return line;
}

}  // namespace

std::string status_watch::text(const status& now, time_point at) {
  // The last that is old enough, where there is one: whatever takes long ends seldom.
  while (seen_.size() > 1 && seen_[1].at <= at - span) seen_.pop_front();
  const auto* before = seen_.empty() ? nullptr : &seen_.front().what;
  const auto seconds = before ? std::chrono::duration<double>(at - seen_.front().at).count() : 0;
  std::string result;
  auto add = [&result](const std::string& line) { result += (result.empty() ? "" : "\n") + line; };
  for (const auto& c : now.cores) {
    auto known = before && c.index < before->cores.size();
    add(line_of(c, known ? before->cores[c.index] : core_status{}, seconds));
  }
  for (const auto& m : now.models) {
    model_status known;
    if (before)
      for (const auto& b : before->models)
        if (b.id == m.id) known = b;
    add(line_of(m, known, seconds));
  }
  if (now.abandoned_lanes > 0)
    add(fmt::format("{} thread{} left behind, with {}", now.abandoned_lanes, now.abandoned_lanes == 1 ? "" : "s",
                    short_bytes(now.abandoned_bytes)));
  seen_.push_back({now, at});
  return result;
}

}  // namespace ganglion::command

#include "watch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace ganglion::command {

namespace {

/// `950`, `12.3k`, `4.56M`.
std::string short_number(double n) {
  if (n < 1e3) return fmt::format("{:.0f}", n);
  return n < 1e6 ? fmt::format("{:.3g}k", n / 1e3) : fmt::format("{:.3g}M", n / 1e6);
}

std::string short_bytes(std::uint64_t n) {
  auto bytes = static_cast<double>(n);
  if (n < 1024) return fmt::format("{} B", n);
  return n < (1 << 20) ? fmt::format("{:.3g} KiB", bytes / 1024) : fmt::format("{:.3g} MiB", bytes / (1 << 20));
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

double milliseconds(std::chrono::nanoseconds t) { return std::chrono::duration<double, std::milli>(t).count(); }

std::string line_of(const model_status& m, const model_status& before, double seconds) {
  auto line = fmt::format("model {}  {} rows wait ({}), {} executions in flight", m.id,
                          short_number(double(m.queued_rows)), short_bytes(m.queued_bytes), m.executions_in_flight);
  if (seconds > 0)
    line += fmt::format(", {} requests/s well, {} not",
                        short_number(growth(answered(before), answered(m)) / seconds),
                        short_number(growth(failed(before), failed(m)) / seconds));
  if (m.total.count() > 0)
    line += fmt::format(", p50 {:.3g} ms, p99 {:.3g} ms", milliseconds(m.total.quantile(0.5)),
                        milliseconds(m.total.quantile(0.99)));
  return line;
}

}  // namespace

std::string status_watch::text(const status& now, time_point at) {
  const auto seconds = before_ ? std::chrono::duration<double>(at - then_).count() : 0;
  std::string result;
  auto add = [&result](const std::string& line) { result += (result.empty() ? "" : "\n") + line; };
  for (const auto& c : now.cores) {
    auto known = before_ && c.index < before_->cores.size();
    add(line_of(c, known ? before_->cores[c.index] : core_status{}, seconds));
  }
  for (const auto& m : now.models) {
    model_status before;
    if (before_)
      for (const auto& b : before_->models)
        if (b.id == m.id) before = b;
    add(line_of(m, before, seconds));
  }
  if (now.abandoned_lanes > 0)
    add(fmt::format("{} thread{} left behind, with {}", now.abandoned_lanes, now.abandoned_lanes == 1 ? "" : "s",
                    short_bytes(now.abandoned_bytes)));
  before_ = now;
  then_ = at;
  return result;
}

}  // namespace ganglion::command

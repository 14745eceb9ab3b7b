#include "bench_options.hpp"

#include "bench_duration.hpp"
#include "command.hpp"

#include <fmt/format.h>

namespace ganglion::command {

namespace {

constexpr double most_seconds = 86'400;

scenario parse_scenario(const std::string& text) {
  for (const auto kind : {scenario::offline, scenario::single_stream, scenario::server})
    if (text == scenario_name(kind)) return kind;
  throw usage_error(fmt::format("--scenario is offline, single-stream or server, not '{}'", text));
}

[[noreturn]] void refuse(const std::string& sentence) { throw error(errc::invalid_argument, sentence); }

void read_target(bench_command& given) {
  if (given.target_text.empty()) return;
  given.target_p99 = parse_duration(given.target_text);
  if (!given.target_p99)
    throw usage_error(
        fmt::format("--target-p99 takes a duration such as 15ms, 800us or 0.5s, not '{}'", given.target_text));
  if (given.scenario == scenario::offline)
    refuse("--target-p99 bounds the latency of the scenarios single-stream and server: offline has none to keep");
  refuse_bad_seconds("--target-p99", *given.target_p99);
}

void check_server(const bench_command& given) {
  if (given.scenario == scenario::server && !given.qps && !given.target_p99)
    throw usage_error(
        "the scenario server needs --qps, the requests a second that arrive on average, or --target-p99, "
        "for which it looks for the highest rate");
  if (given.scenario == scenario::server) return;
  if (given.qps)
    refuse(fmt::format("--qps belongs to the scenario server: in {} the answers set the pace", given.scenario_text));
  if (!given.picture.empty())
    refuse(
        fmt::format("--picture draws latency against rate, which belongs to the scenario server: in {} there is no "
                    "rate to choose",
                    given.scenario_text));
}

}  // namespace

const char* scenario_name(scenario kind) {
  switch (kind) {
    case scenario::offline: return "offline";
    case scenario::single_stream: return "single-stream";
    case scenario::server: return "server";
  }
  return "";
}

void refuse_unless_positive(const char* name, double value) {
  if (!(value > 0)) refuse(fmt::format("{} is {:g}: it must be above 0", name, value));
}

void refuse_bad_seconds(const char* name, double seconds) {
  refuse_unless_positive(name, seconds);
  if (seconds > most_seconds)
    refuse(fmt::format("{} is {:g} s: the largest is {:g}, a day", name, seconds, most_seconds));
}

void read(bench_command& given) {
  given.scenario = parse_scenario(given.scenario_text);
  read_target(given);
  check_server(given);
  if (given.seconds_given) given.seconds = *given.seconds_given;
  refuse_bad_seconds("--seconds", given.seconds);
  if (given.seed_given) {
    if (*given.seed_given < 0) refuse(fmt::format("--seed is {}: it must be 0 or above", *given.seed_given));
    given.seed = static_cast<std::uint64_t>(*given.seed_given);
  }
  if (given.qps) refuse_unless_positive("--qps", *given.qps);
  if (given.qps && *given.qps * given.seconds > most_arrivals)
    refuse(
        fmt::format("--qps {:g} for {:g} s is {:g} requests: the largest number is {:g}, so lower --qps or "
                    "--seconds",
                    *given.qps, given.seconds, *given.qps * given.seconds, most_arrivals));
  if (given.batch) refuse_unless_positive("--batch", static_cast<double>(*given.batch));
}

}  // namespace ganglion::command

#include "measure.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <optional>

namespace ganglion::benchmark {

double seconds_between(clock::time_point begin, clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

std::int64_t resident_bytes() {
  std::ifstream file{"/proc/self/statm"};
  std::int64_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

report::report(std::string_view name) : json_(fmt::format("{{\"benchmark\": \"{}\"", name)) {
  fmt::print(stderr, "{}\n", name);
}

report::~report() { fmt::print("{}}}\n", json_); }

void report::add(std::string_view name, double value) {
  fmt::print(stderr, "  {:<36} {:>12.6g}\n", name, value);
  json_ += fmt::format(", \"{}\": {}", name, value);
}

void report::at_least(std::string_view name, double value, double aim) {
  judge(name, value, "at least", aim, value >= aim);
}

void report::at_most(std::string_view name, double value, double aim) {
  judge(name, value, "at most", aim, value <= aim);
}

void report::judge(std::string_view name, double value, std::string_view side, double aim, bool met) {
  fmt::print(stderr, "  {:<36} {:>12.6g}   {} {:.6g}: {}\n", name, value, side, aim, met ? "met" : "MISSED");
  json_ += fmt::format(", \"{0}\": {1}, \"{0}_aim\": {2}, \"{0}_met\": {3}", name, value, aim, met);
}

namespace {

std::optional<arguments> parse(int argc, char** argv, double seconds) {
  arguments given{seconds, false};
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--small")
      given.small = true;
    else if (word == "--seconds" && i + 1 < argc)
      given.seconds = std::strtod(argv[++i], nullptr);
    else
      return {};
  }
  if (!(given.seconds > 0) || !std::isfinite(given.seconds)) return {};
  return given;
}

}  // namespace

int run(std::string_view name, int argc, char** argv, double seconds,
        const std::function<void(const arguments&, report&)>& body) {
  const auto given = parse(argc, argv, seconds);
  if (!given) {
    fmt::print(stderr, "usage: {} [--seconds S] [--small]\n", name);
    return 2;
  }
  try {
    report result(name);
    body(*given, result);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}: {}\n", name, e.what());
    return 1;
  }
}

torch::jit::Module nothing() {
  torch::jit::Module module("nothing");
  module.define("def forward(self, x):\n  return x\n");
  return module;
}

torch::jit::Module layers(const std::vector<std::int64_t>& sizes) {
  auto random = at::detail::createCPUGenerator(1);
  torch::jit::Module module("layers");
  std::string code = "def forward(self, x):\n";
  for (std::size_t i = 1; i < sizes.size(); ++i) {
    const auto scale = 1 / std::sqrt(static_cast<double>(sizes[i - 1]));
    module.register_parameter(fmt::format("w{}", i), at::randn({sizes[i], sizes[i - 1]}, random) * scale, false);
    module.register_parameter(fmt::format("b{}", i), at::randn({sizes[i]}, random) * scale, false);
    const auto layer = fmt::format("torch.linear(x, self.w{0}, self.b{0})", i);
    code += i + 1 < sizes.size() ? fmt::format("  x = torch.relu({})\n", layer) : fmt::format("  return {}\n", layer);
  }
  module.define(code);
  return module;
}

}  // namespace ganglion::benchmark

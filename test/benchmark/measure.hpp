#pragma once

#include <torch/csrc/jit/api/module.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

/// What the programs of this folder share: their arguments, a clock, what the process has used, and their report.
namespace ganglion::benchmark {

using clock = std::chrono::steady_clock;

double seconds_between(clock::time_point begin, clock::time_point end);

/// The seconds of CPU that all threads of this process have used, the kernel's share included.
double cpu_seconds();

/// The bytes of this process that are in memory.
std::int64_t resident_bytes();

/// How a program was called: `[--seconds S] [--small]`.
struct arguments {
  double seconds = 0;   ///< of one measurement
  bool small = false;   ///< a model that is made at once: to see that the program works, not for figures
};

/// What a program found: printed as text on stderr, line by line, and at the end as one JSON object on stdout.
class report {
 public:
  explicit report(std::string_view name);
  ~report();

  /// A figure; its name says its unit.
  void add(std::string_view name, double value);
  /// A figure that is to be at least, or at most, so much.
  void at_least(std::string_view name, double value, double aim);
  void at_most(std::string_view name, double value, double aim);

 private:
  void judge(std::string_view name, double value, std::string_view side, double aim, bool met);

  std::string json_;
};

/// Reads the arguments, with `seconds` where none are given, runs the body and returns the exit status.
int run(std::string_view name, int argc, char** argv, double seconds,
        const std::function<void(const arguments&, report&)>& body);

/// Returns its input.
torch::jit::Module nothing();
/// Layers of seeded random weights, sizes[0] -> sizes[1] -> ..., with ReLU between them.
torch::jit::Module layers(const std::vector<std::int64_t>& sizes);

}  // namespace ganglion::benchmark

// A process that ends while a forward hangs. The argument says what it does: it "waits" for something, or "computes"
// for ever; with "answers" it does not hang.
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <ganglion/actors/core/cpu_lane.hpp>
#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>

using namespace ganglion;
using namespace ganglion::test;

namespace {

/// Before those of any library, and so called when their static objects have been destroyed, if the process ends so.
void say_that_nothing_is_left(int, void*) { std::puts("what the libraries hold has been destroyed"); }
void register_before_libraries() { ::on_exit(say_that_nothing_is_left, nullptr); }
[[gnu::section(".preinit_array"), gnu::used]] void (*const before_libraries)() = register_before_libraries;

void say(const char* what) {
  auto count = abandoned_lanes().count;
  std::printf("%s with %zu thread%s left behind\n", what, count, count == 1 ? "" : "s");
  std::fflush(stdout);
}

void wait_for_ever(engine& host) {
  static auto* const closed = new std::optional<forward_gate>;  // never opened
  data_parallel parallel{host, trace(gated_plus_one(), {at::ones({1, 3})})};
  closed->emplace(1);
  parallel({at::ones({1, 3})});
  say("answered");
}

void compute_for_ever(engine& host) {
  const auto endless = test_modules::scripted(
      "def forward(self, x):\n"
      "  while bool((x > 1e6).any()):\n"
      "    x = torch.rand_like(x).matmul(torch.ones([3, 3])).relu() + 2e6\n"
      "  return x\n");
  data_parallel parallel{host, trace(endless, {at::zeros({1, 3})}, {.tune = false})};
  try {
    parallel({at::full({1, 3}, 2e6)});
  } catch (const error&) {
    say("answered");
  }
}

void leave_nothing(engine& host) {
  data_parallel parallel{host, trace(test_modules::plus_one(), {at::ones({1, 3})}, {.tune = false})};
  parallel({at::ones({1, 3})});
  say("answered");
}

const std::map<std::string, void (*)(engine&)> uses{
    {"waits", wait_for_ever}, {"computes", compute_for_ever}, {"answers", leave_nothing}};

}  // namespace

int main(int, char** argv) {
  {
    engine_options options;
    options.host_cores = 2;
    options.max_execution_time = std::chrono::seconds(1);
    engine host{options};
    uses.at(argv[1])(host);
  }
  say("the engine has ended");
  std::atexit([] { std::puts("what was registered in main has run"); });
  return 7;
}

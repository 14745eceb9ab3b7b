// A process that ends while a forward hangs.
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <ganglion/actors/core/cpu_lane.hpp>
#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>

#include <cstdio>
#include <optional>

using namespace ganglion;
using namespace ganglion::test;

namespace {

void say(const char* what) {
  auto count = abandoned_lanes().count;
  std::printf("%s with %zu thread%s left behind\n", what, count, count == 1 ? "" : "s");
  std::fflush(stdout);
}

}  // namespace

int main() {
  static auto* const closed = new std::optional<forward_gate>;  // never opened
  {
    engine_options options;
    options.host_cores = 2;
    options.max_execution_time = std::chrono::milliseconds(200);
    engine host{options};
    data_parallel parallel{host, trace(gated_plus_one(), {at::ones({1, 3})})};
    closed->emplace(1);
    parallel({at::ones({1, 3})});
    say("answered");
  }
  say("the engine has ended");
}

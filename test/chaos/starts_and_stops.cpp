// Engines that start and stop, idle and under load: none may hang, and nothing may be left of them.
#include "process.hpp"

#include <support/modules.hpp>

#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>
#include <CLI/CLI.hpp>
#include <unistd.h>

#include <future>

namespace {

using namespace ganglion;
using namespace ganglion::test;

constexpr unsigned longest_seconds = 60;

engine_options options_of(std::size_t round) {
  engine_options options;
  options.host_cores = 1 + round % 3;
  options.pin = false;
  options.log = [](log_level, std::string_view) {};
  // Every second one under load is not let finish.
  options.shutdown_bound = std::chrono::milliseconds(round % 4 == 3 ? 0 : 30'000);
  return options;
}

void start_and_stop(const compiled_model& model, std::size_t round, problems& found) {
  std::vector<std::future<c10::IValue>> open;
  {
    engine host{options_of(round)};
    if (round % 4 == 0) return;  // no model at all
    data_parallel parallel{host, model};
    if (round % 2 == 1)
      for (int i = 0; i < 200; ++i) open.push_back(parallel.submit({at::full({3, 2}, static_cast<double>(i))}));
  }
  for (std::size_t i = 0; i < open.size(); ++i) {
    found.expect(open[i].wait_for(std::chrono::seconds(0)) == std::future_status::ready, "a future is not ready");
    try {
      found.expect(at::equal(open[i].get().toTensor(), at::full({3, 2}, static_cast<double>(i) + 1)), "a wrong answer");
    } catch (const error& e) {
      found.expect(e.code() == errc::draining && round % 4 == 3, e.what());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t count = 10'000;
  CLI::App app{"Engines that start and stop"};
  app.add_option("--count", count)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  trace_options quickly;
  quickly.tune = false;
  const auto model = trace(test_modules::plus_one(), {at::ones({4, 2})}, quickly);
  problems found;
  for (std::size_t round = 0; round < 20; ++round) start_and_stop(model, round, found);  // what is made once a process
  const auto before = process_size_at_rest();
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t round = 0; round < count; ++round) {
    ::alarm(longest_seconds);  // the end of a process that hangs, with a core file of where
    start_and_stop(model, round, found);
  }
  ::alarm(0);
  fmt::print("{} engines started and stopped in {:.1f} s\n", count,
             std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  found.expect_no_more_than(before);
  return found.report();
}

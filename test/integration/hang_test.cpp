// Forwards that hang: max_execution_time, on real lanes with real models.
#include <support/calls.hpp>
#include <support/child_program.hpp>
#include <support/engine_ears.hpp>
#include <support/errors.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <ganglion/actors/core/cpu_lane.hpp>

#include <sched.h>

#include <filesystem>
#include <fstream>
#include <set>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;
namespace modules = test_modules;

namespace {

/// An engine whose cores count as hung after a fifth of a second.
struct impatient_engine {
  explicit impatient_engine(std::size_t cores, std::size_t threads_per_core = 1) {
    auto options = ears.options(cores);
    options.threads_per_core = threads_per_core;
    options.max_execution_time = 1s;
    options.shutdown_bound = 1min;
    host.emplace(options);
  }

  engine_ears ears;
  std::optional<engine> host;
};

/// This process's threads of that name.
std::set<int> threads_of(const std::string& name) {
  std::set<int> result;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string found;
    std::getline(std::ifstream(task.path() / "comm"), found);
    if (found == name) result.insert(std::stoi(task.path().filename()));
  }
  return result;
}

compiled_model gated(std::int64_t batch) { return compiled(gated_plus_one(), {at::ones({batch, 3})}); }

/// Runs the program that ends with the status 7 of its own and as many lanes as `left` behind, and returns what it
/// prints when the libraries' static objects are gone.
std::string last_words(const std::string& what_it_does, const std::string& left) {
  child_program process{GANGLION_LEAVE_HUNG, {what_it_does}, {}};
  EXPECT(process.line() == "answered with " + left + " left behind");
  EXPECT(process.line() == "the engine has ended with " + left + " left behind");
  EXPECT(process.line() == "what was registered in main has run");
  auto last = process.line();
  const auto status = process.finish();
  REQUIRE(WIFEXITED(status));
  EXPECT(WEXITSTATUS(status) == 7);
  return last;
}

}  // namespace

TEST_CASE("what a hung core held runs on another, and the stuck thread writes nowhere when it wakes up") {
  REQUIRE(wait_for_abandoned_lanes(1min));
  impatient_engine on{2};
  data_parallel parallel{*on.host, gated(4)};
  data_parallel beside_it{*on.host, compiled(modules::linear(), {at::ones({4, 4})})};
  forward_gate gate{1};
  // The answer goes into a tensor of the caller's, which the stuck thread must not touch any more.
  auto mine = at::zeros({4, 3});
  request_options options;
  options.outputs = {mine};
  auto future = parallel.submit({counted({4, 3})}, options);
  REQUIRE(gate.wait_for(1));
  REQUIRE(ready(future));
  const auto result = future.get();
  EXPECT(same(mine, counted({4, 3}) + 1));
  EXPECT(contains(on.ears.wait_for_sentence("died"), "max_execution_time = 1000 ms passed while it ran an execution"));
  on.ears.wait_for_sentence("is back and serves its 2 models again");

  auto s = on.host->status();
  EXPECT(s.abandoned_lanes == 1);
  // Its inputs, and the weights of the models on it, of which one has none.
  EXPECT(s.abandoned_bytes == (4 * 3 + 3 * 4 + 3) * sizeof(float));
  EXPECT(s.cores[0].restarts + s.cores[1].restarts == 1);
  mine.fill_(7);
  gate.open();
  REQUIRE(wait_for_abandoned_lanes(1min));
  EXPECT(same(mine, at::full({4, 3}, 7.)));
  s = on.host->status();
  EXPECT(s.abandoned_lanes == 0);
  EXPECT(s.abandoned_bytes == 0);
  EXPECT(same(answer(parallel, {counted({40, 3})}), counted({40, 3}) + 1));
}

TEST_CASE("a request that hangs every core that it comes to fails with core_lost, and its neighbours are answered") {
  REQUIRE(wait_for_abandoned_lanes(1min));
  impatient_engine on{2};
  data_parallel parallel{*on.host, gated(1)};
  forward_gate gate{2};
  auto bad = parallel.submit({counted({1, 3})});
  REQUIRE(gate.wait_for(1));
  std::vector<std::future<c10::IValue>> others;
  // The first of them may be the second that hangs: whichever two do not end.
  for (int i = 0; i < 20; ++i) others.push_back(parallel.submit({counted({1, 3}) + i}));
  REQUIRE(ready(bad));
  std::size_t lost = failure_of_future(std::move(bad)).code == errc::core_lost;
  for (auto& future : others) {
    REQUIRE(ready(future));
    const auto code = failure_of_future(std::move(future)).code;
    EXPECT((code == errc::ok || code == errc::core_lost));
    lost += code == errc::core_lost;
  }
  EXPECT(lost <= 1);
  EXPECT(on.host->status().abandoned_lanes == 2);
}

TEST_CASE("with a single core that hangs the request fails with core_lost, and the next one is answered") {
  REQUIRE(wait_for_abandoned_lanes(1min));
  impatient_engine on{1};
  data_parallel parallel{*on.host, gated(2)};
  forward_gate gate{1};
  auto hangs = parallel.submit({counted({2, 3})});
  REQUIRE(gate.wait_for(1));
  auto waits = parallel.submit({counted({2, 3})});
  REQUIRE(ready(hangs));
  const auto f = failure_of_future(std::move(hangs));
  EXPECT(f.code == errc::core_lost);
  EXPECT(contains(f.text, "core nc:0 was lost while it held rows 0 to 1, and no other core can take them"));
  REQUIRE(ready(waits));
  EXPECT(same(waits.get().toTensor(), counted({2, 3}) + 1));
}

TEST_CASE("what a lane answered or failed before it hung is answered and let go, though its reports are lost with it") {
  REQUIRE(wait_for_abandoned_lanes(1min));
  impatient_engine on{1};
  data_parallel parallel{*on.host, gated(1), {.split_size = 1}};
  forward_gate gate{1};
  auto x = counted({1, 3});
  auto first = parallel.submit({x});
  REQUIRE(gate.wait_for(1));
  auto y = counted({12, 3});
  y[1].fill_(-2e6);
  auto mismatched = parallel.submit({y});
  // All of it is in the lane, which reports when half of that has run.
  while (on.host->status().models.at(0).executions_in_flight < 13) {
  }
  gate.let_pass(2);
  REQUIRE(gate.wait_for(1));
  REQUIRE(ready(first));
  EXPECT(same(first.get().toTensor(), x + 1));
  REQUIRE(ready(mismatched));
  const auto f = failure_of_future(std::move(mismatched));
  EXPECT(f.code == errc::gather_mismatch);
  EXPECT(f.first_row == 1);
  const auto s = on.host->status();
  EXPECT(s.abandoned_lanes == 1);
  // What the stuck thread holds are all rows of both requests.
  EXPECT(s.abandoned_bytes == (1 + 12) * 3 * sizeof(float));
  EXPECT(s.unanswered == 0);
  gate.open();
  REQUIRE(wait_for_abandoned_lanes(1min));
  const auto z = counted({2, 3});
  EXPECT(same(answer(parallel, {z}), z + 1));
  EXPECT(soon([&] { return x.use_count() == 1 && y.use_count() == 1; }));
}

TEST_CASE("the thread that is left behind has the lowest priority, and so have its intra-op threads") {
  REQUIRE(wait_for_abandoned_lanes(1min));
  const auto others = threads_of("nc:0");  // of engines of other tests
  impatient_engine on{1, 2};
  data_parallel parallel{*on.host, gated(1)};
  forward_gate gate{1};
  auto future = parallel.submit({counted({1, 3})});
  REQUIRE(gate.wait_for(1));
  REQUIRE(ready(future));
  on.ears.wait_for_sentence("is back");
  std::multiset<int> policies;
  for (auto thread : threads_of("nc:0"))
    if (!others.contains(thread)) policies.insert(::sched_getscheduler(thread));
  EXPECT(policies == std::multiset<int>{SCHED_OTHER, SCHED_OTHER, SCHED_IDLE, SCHED_IDLE});
}

TEST_CASE("a warm-up that hangs fails the deployment, where its time is limited") {
  REQUIRE(wait_for_abandoned_lanes(1min));
  engine_ears ears;
  auto options = ears.options(1);
  options.max_load_step_time = 500ms;
  engine host{options};
  const auto model = gated(1);
  forward_gate gate{1};
  const auto f = failure_of([&] { data_parallel{host, model}; });
  EXPECT(f.code == errc::core_lost);
  EXPECT(contains(ears.wait_for_sentence("died"), "max_load_step_time = 500 ms passed while it loaded a model"));
}

TEST_CASE("the engine and the process end while a lane hangs") { last_words("waits", "1 thread"); }

TEST_CASE("what LibTorch holds is not destroyed under a lane that was left behind while it computes") {
  EXPECT(last_words("computes", "2 threads") == "");
  EXPECT(last_words("answers", "0 threads") == "what the libraries hold has been destroyed");
}

TEST_CASE("limits that cannot be are refused") {
  for (const auto spin : {-1ns, 1'000'000'001ns}) {
    engine_options spinning;
    spinning.idle_spin = spin;
    EXPECT(contains(failure_of([&] { engine{spinning}; }).text, "but must be from 0 to 1000000000 ns, a second"));
  }
  engine_options options;
  options.max_execution_time = 0ns;
  EXPECT(contains(failure_of([&] { engine{options}; }).text, "max_execution_time is 0 ns, but must be positive"));
}

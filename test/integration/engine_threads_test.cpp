// What may be called on an engine's own threads, and what its callbacks may do.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/faulty_lane.hpp>
#include <support/modules.hpp>

#include <ganglion/engine/cpu_allowance.hpp>

#include <atomic>
#include <optional>
#include <thread>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

TEST_CASE("a blocking call from one of the engine's own threads is refused, not a deadlock") {
  engine_ears ears;
  lane_faults lanes;
  auto options = ears.options(2);
  options.make_lane = lanes.factory();
  // The log, the observer and a lane are all called on such threads.
  struct tries {
    std::function<void()> make_one;
    std::promise<std::vector<failure>> from_log, from_observer;
    std::atomic<bool> logged{false}, observed{false};
  } t;
  std::vector<std::function<void()>> calls;
  const auto try_all = [&calls] {
    std::vector<failure> result;
    for (const auto& call : calls) result.push_back(failure_of(call));
    return result;
  };
  options.log = [&](log_level, std::string_view) {
    if (!t.logged.exchange(true)) t.from_log.set_value(try_all());
  };
  options.on_execution = [&](const execution_record&) {
    if (!t.observed.exchange(true)) t.from_observer.set_value(try_all());
  };
  engine host{options};
  const auto model = plus_one(2);
  data_parallel parallel{host, model};
  calls = {[&] { parallel({counted({4, 3})}); }, [&] { host.status(); }, [&] { host.drain(std::chrono::seconds(1)); },
           [&] { data_parallel{host, model}; }};
  std::promise<std::vector<failure>> from_lane;
  lanes.at_next_start([&] { from_lane.set_value(try_all()); });
  EXPECT(same(answer(parallel, {counted({1, 3})}), counted({1, 3}) + 1));  // warns of an idle core, too
  for (auto* promise : {&t.from_log, &t.from_observer, &from_lane}) {
    auto future = promise->get_future();
    REQUIRE(ready(future));
    const auto failures = future.get();
    REQUIRE(failures.size() == calls.size());
    for (const auto& f : failures) {
      EXPECT(f.code == errc::invalid_argument);
      EXPECT(contains(f.text, "own threads"));
    }
  }
  EXPECT(same(answer(parallel, {counted({5, 3})}), counted({5, 3}) + 1));
}

TEST_CASE("submit may be called from the engine's own threads, so a chain of calls needs none of the caller's") {
  engine_ears ears;
  auto options = ears.options(2);
  std::atomic<data_parallel*> target{nullptr};
  std::mutex mutex;
  std::vector<std::future<c10::IValue>> futures;
  std::promise<void> done;
  options.on_execution = [&](const execution_record&) {
    auto* parallel = target.load();
    if (!parallel) return;
    std::lock_guard lock(mutex);
    if (futures.size() == 100) {
      target = nullptr;
      done.set_value();
    } else {
      futures.push_back(parallel->submit({counted({1, 3})}));
    }
  };
  engine host{options};
  data_parallel parallel{host, plus_one()};
  target = &parallel;
  answer(parallel, {counted({1, 3})});
  auto finished = done.get_future();
  REQUIRE(ready(finished));
  for (auto& f : futures) {
    REQUIRE(ready(f));
    EXPECT(same(f.get().toTensor(), counted({1, 3}) + 1));
  }
}

TEST_CASE("what a callback throws reaches nobody's request, and no core dies of it") {
  engine_ears ears;
  auto options = ears.options(2);
  options.log = [](log_level, std::string_view) { throw std::runtime_error("a log that throws"); };
  options.on_execution = [](const execution_record&) { throw 42; };
  engine host{options};
  data_parallel parallel{host, plus_one(2)};
  for (const std::int64_t rows : {1, 3, 5})  // the first one warns of an idle core
    EXPECT(same(answer(parallel, {counted({rows, 3})}), counted({rows, 3}) + 1));
  EXPECT(parallel.warnings().size() == 1);
  for (const auto& core : host.status().cores) EXPECT(core.restarts == 0);
}

TEST_CASE("cores look for more work before they sleep, for as long as is wanted, but for those that share CPUs") {
  const auto allowed = read_cpu_allowance().count;
  const auto spin_of = [](std::size_t cores, std::optional<std::chrono::nanoseconds> wanted) {
    engine_ears ears;
    lane_faults lanes;
    auto options = ears.options(cores);
    if (wanted) options.idle_spin = *wanted;
    std::atomic<std::int64_t> given{-1};
    options.make_lane = [&given, make = lanes.factory()](const lane_config& config, std::shared_ptr<lane_sink> sink) {
      given = config.idle_spin.count();
      return make(config, std::move(sink));
    };
    engine host{options};
    data_parallel parallel{host, plus_one()};
    answer(parallel, {counted({1, 3})});
    return given.load();
  };
  EXPECT(spin_of(allowed, {}) == 50'000);
  EXPECT(spin_of(allowed, std::chrono::microseconds(7)) == 7'000);
  EXPECT(spin_of(allowed, std::chrono::nanoseconds(0)) == 0);
  EXPECT(spin_of(allowed + 1, {}) == 0);
}

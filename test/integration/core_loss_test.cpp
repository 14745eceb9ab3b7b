// Cores that die or hang, with lanes that do so on command.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/faulty_lane.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <ganglion/actors/core/cpu_lane.hpp>

#include <fmt/format.h>

#include <atomic>
#include <thread>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;
using fate = lane_faults::fate;

namespace {

/// An engine of lanes that can fail.
struct frail_engine {
  explicit frail_engine(std::size_t cores, lane_faults::judge decide = {},
                        std::chrono::milliseconds shutdown_bound = std::chrono::minutes(1))
      : lanes(std::move(decide)) {
    auto options = ears.options(cores);
    options.make_lane = lanes.factory();
    options.shutdown_bound = shutdown_bound;
    host.emplace(options);
  }

  engine_ears ears;
  lane_faults lanes;
  std::optional<engine> host;
};

/// Calls again for as long as no core is there; a minute at most.
at::Tensor patient_answer(data_parallel& parallel, const at::Tensor& x) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  for (;;) try {
      return answer(parallel, {x});
    } catch (const error& e) {
      if (e.failure().code != errc::core_lost || std::chrono::steady_clock::now() > end) throw;
    }
}

}  // namespace

TEST_CASE("what a dying core held is run once more on another, and the core comes back") {
  frail_engine on{2, [](const auto& given) { return given.core == 0 && given.nth == 1 ? fate::die : fate::run; }};
  data_parallel parallel{*on.host, plus_one(4)};
  EXPECT(same(answer(parallel, {counted({3, 3})}), counted({3, 3}) + 1));
  const auto tried = on.lanes.started();
  REQUIRE(tried.size() == 2);
  EXPECT(tried[0].core == 0);
  EXPECT(tried[1].core == 1);
  EXPECT(contains(on.ears.wait_for_sentence("core nc:0 died"), "the test let it die"));
  on.ears.wait_for_sentence("core nc:0 is back and serves its 1 model again");
  // It comes back with its model, and serves again.
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (on.host->status().cores[0].models != 1 && std::chrono::steady_clock::now() < end) {
  }
  const auto status = on.host->status();
  EXPECT(status.cores[0].models == 1);
  EXPECT(status.cores[0].up);
  EXPECT(status.cores[0].restarts == 1);
  EXPECT(status.cores[1].restarts == 0);
  EXPECT(same(answer(parallel, {counted({40, 3})}), counted({40, 3}) + 1));
  on.ears.wait_for_executions(1 + 10);
  EXPECT(executions_per_core(on.ears.executions())[0] > 0);
}

TEST_CASE("no row is lost or doubled when a core dies in the middle of large requests") {
  frail_engine on{3, [](const auto& given) { return given.core == 1 && given.nth == 7 ? fate::die : fate::run; }};
  data_parallel parallel{*on.host, plus_one(4)};
  std::vector<std::future<c10::IValue>> futures;
  for (int i = 0; i < 20; ++i) futures.push_back(parallel.submit({counted({101, 3}) + i}));
  for (int i = 0; i < 20; ++i) {
    REQUIRE(ready(futures[static_cast<std::size_t>(i)]));
    EXPECT(same(futures[static_cast<std::size_t>(i)].get().toTensor(), counted({101, 3}) + i + 1));
  }
  EXPECT(at_rest(*on.host));
}

TEST_CASE("the same without dynamic batching, and for chunks of several executions") {
  frail_engine on{2, [](const auto& given) { return given.nth == 2 && given.core == 0 ? fate::die : fate::run; }};
  const auto model = plus_one(3);
  data_parallel chunked{*on.host, model, {.split_size = 10}};
  EXPECT(same(answer(chunked, {counted({37, 3})}), counted({37, 3}) + 1));
  data_parallel fixed{*on.host, model, {.dynamic_batching = false}};
  for (int i = 0; i < 10; ++i) EXPECT(same(patient_answer(fixed, counted({6, 3})), counted({6, 3}) + 1));
}

TEST_CASE("with no other core the request fails with core_lost, and the next one waits for the core's return") {
  frail_engine on{1, [](const auto& given) { return given.nth == 1 ? fate::die : fate::run; }};
  data_parallel parallel{*on.host, plus_one(2)};
  const auto f = failure_of([&] { parallel({counted({2, 3})}); });
  NOTE(f.text);
  EXPECT(f.code == errc::core_lost);
  EXPECT(retryable(f.code));
  EXPECT(f.core == 0);
  EXPECT(contains(f.text, "core nc:0 was lost while it held rows 0 to 1"));
  EXPECT(same(answer(parallel, {counted({5, 3})}), counted({5, 3}) + 1));
  EXPECT(on.host->status().cores[0].restarts == 1);
}

TEST_CASE("rows whose second core dies too fail with core_lost") {
  frail_engine on{2, [](const auto& given) { return given.nth == 1 ? fate::die : fate::run; }};
  data_parallel parallel{*on.host, plus_one(2)};
  const auto f = failure_of([&] { parallel({counted({2, 3})}); });
  NOTE(f.text);
  EXPECT(f.code == errc::core_lost);
  EXPECT(on.lanes.started().size() == 2);  // once more, and not again
  EXPECT(same(answer(parallel, {counted({9, 3})}), counted({9, 3}) + 1));
}

TEST_CASE("cores that die again and again are started again, and every answer is right or core_lost") {
  std::atomic<int> deaths{0};
  frail_engine on{2, [&deaths](const auto& given) {
                    return given.nth % 4 == 0 && deaths.fetch_add(1) < 6 ? fate::die : fate::run;
                  }};
  data_parallel parallel{*on.host, plus_one(2)};
  std::vector<std::future<c10::IValue>> futures;
  for (int i = 0; i < 60; ++i) futures.push_back(parallel.submit({counted({1 + i % 9, 3})}));
  for (int i = 0; i < 60; ++i) {
    auto& future = futures[static_cast<std::size_t>(i)];
    REQUIRE(ready(future));
    at::Tensor y;
    const auto f = failure_of([&] { y = future.get().toTensor(); });
    NOTE(f.text);
    EXPECT((f.code == errc::ok || f.code == errc::core_lost));
    if (f.code == errc::ok) EXPECT(same(y, counted({1 + i % 9, 3}) + 1));
  }
  while (deaths < 6) EXPECT(same(patient_answer(parallel, counted({7, 3})), counted({7, 3}) + 1));
  EXPECT(same(patient_answer(parallel, counted({50, 3})), counted({50, 3}) + 1));
  EXPECT(at_rest(*on.host));
}

TEST_CASE("a core that keeps dying counts as lost until it is back: requests fail at once and then work") {
  std::atomic<bool> deadly{true};
  frail_engine on{1, [&deadly](const auto&) { return deadly ? fate::die : fate::run; }};
  data_parallel parallel{*on.host, plus_one(2)};
  for (int i = 0; i < 5; ++i) EXPECT(failure_of([&] { parallel({counted({2, 3})}); }).code == errc::core_lost);
  on.ears.wait_for_sentence("it counts as lost until then");
  deadly = false;
  EXPECT(same(patient_answer(parallel, counted({5, 3})), counted({5, 3}) + 1));
  EXPECT(on.host->status().cores[0].restarts == 5);
}

TEST_CASE("while all cores are lost, what waits and what comes fails with core_lost at once") {
  frail_engine on{1};
  data_parallel parallel{*on.host, compiled(gated_plus_one(), {at::ones({1, 3})}), {.split_size = 1}};
  forward_gate gate{1};
  auto runs = parallel.submit({counted({1, 3})});
  REQUIRE(gate.wait_for(1));
  auto waits = parallel.submit({counted({500, 3})});
  on.lanes.die_loading(true);
  on.lanes.kill(0);
  REQUIRE(ready(runs));
  EXPECT(failure_of_future(std::move(runs)).code == errc::core_lost);
  REQUIRE(ready(waits));
  const auto f = failure_of_future(std::move(waits));
  EXPECT(f.code == errc::core_lost);
  EXPECT(contains(f.text, "all cores of this model are lost and none has come back"));
  for (int i = 0; i < 3; ++i) {
    const auto late = failure_of([&] { parallel({counted({2, 3})}); });
    EXPECT(late.code == errc::core_lost);
    EXPECT(contains(late.text, "all cores of this model are lost and none has come back"));
  }
  on.lanes.die_loading(false);
  gate.open();
  EXPECT(same(patient_answer(parallel, counted({5, 3})), counted({5, 3}) + 1));
}

TEST_CASE("a core that keeps dying counts as lost in the status while the other serves, and is tried again") {
  std::atomic<bool> deadly{true};
  frail_engine on{2, [&deadly](const auto& given) { return deadly && given.core == 0 ? fate::die : fate::run; }};
  data_parallel parallel{*on.host, plus_one(2)};
  const auto x = counted({40, 3});  // some of it goes to each core that is there
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  for (bool lost = false; !lost && std::chrono::steady_clock::now() < end;) {
    EXPECT(same(answer(parallel, {x}), x + 1));
    const auto s = on.host->status();
    lost = s.cores[0].lost;
    EXPECT((!lost || (!s.cores[0].up && s.cores[0].restarts >= 5)));
    EXPECT(s.cores[1].up);
    EXPECT_FALSE(s.cores[1].lost);
  }
  REQUIRE(std::chrono::steady_clock::now() < end);
  EXPECT(same(answer(parallel, {x}), x + 1));
  deadly = false;
  for (bool back = false; !back && std::chrono::steady_clock::now() < end; back = on.host->status().cores[0].up) {
  }
  const auto c = on.host->status().cores[0];
  EXPECT(c.up);
  EXPECT_FALSE(c.lost);
  EXPECT(same(answer(parallel, {x}), x + 1));
  EXPECT(on.host->status().cores[1].restarts == 0);
}

TEST_CASE("a core that was given up while it computed writes nothing when its forward ends at last") {
  REQUIRE(wait_for_abandoned_lanes(std::chrono::minutes(1)));
  frail_engine on{2};
  data_parallel parallel{*on.host, compiled(gated_plus_one(), {at::ones({2, 3})})};
  const auto x = counted({2, 3});
  forward_gate gate{1};  // only the first attempt stops
  auto future = parallel.submit({x});
  REQUIRE(gate.wait_for(1));
  on.lanes.kill(0);
  REQUIRE(ready(future));
  auto y = future.get().toTensor();
  EXPECT(same(y, x + 1));
  EXPECT(on.host->status().abandoned_lanes == 1);
  y.fill_(-1);
  gate.open();
  REQUIRE(wait_for_abandoned_lanes(std::chrono::minutes(1)));
  EXPECT(same(y, at::full({2, 3}, -1.f)));
  EXPECT(on.host->status().abandoned_lanes == 0);
}

TEST_CASE("a core that dies while it loads a model fails the construction with core_lost, and the next one works") {
  frail_engine on{2};
  on.lanes.die_loading(true);
  const auto f = failure_of([&] { data_parallel{*on.host, plus_one(2)}; });
  NOTE(f.text);
  EXPECT(f.code == errc::core_lost);
  on.lanes.die_loading(false);
  data_parallel parallel{*on.host, plus_one(2)};
  EXPECT(same(patient_answer(parallel, counted({9, 3})), counted({9, 3}) + 1));
}

TEST_CASE("a model is loaded again on a core that comes back, for all data_parallels") {
  frail_engine on{1};
  const auto model = plus_one(2), other = compiled(modules::linear(), {at::rand({2, 4})});
  data_parallel a{*on.host, model}, b{*on.host, other};
  on.lanes.kill(0);
  on.ears.wait_for_sentence("core nc:0 died");
  EXPECT(same(patient_answer(a, counted({5, 3})), counted({5, 3}) + 1));
  const auto x = at::rand({5, 4});
  EXPECT(same(patient_answer(b, x), source_answer(other, {x}).toTensor()));
  EXPECT(on.host->status().cores[0].models == 2);
}

TEST_CASE("a lane that cannot be made is a death of its core like another, tried again later") {
  engine_ears ears;
  std::atomic<int> tries{0};
  auto options = ears.options(2);
  options.make_lane = [&tries](const lane_config& config, std::shared_ptr<lane_sink> sink) {
    if (++tries <= 2) throw std::runtime_error("no lane today");
    return make_cpu_lane(config, std::move(sink));
  };
  engine host{options};
  ears.wait_for_sentence("core nc:1 died");
  const auto model = plus_one(2);
  std::optional<data_parallel> parallel;
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
       !parallel && std::chrono::steady_clock::now() < end;) {
    const auto f = failure_of([&] { parallel.emplace(host, model); });
    EXPECT((f.code == errc::ok || f.code == errc::core_lost));
  }
  REQUIRE(parallel.has_value());
  EXPECT(same(patient_answer(*parallel, counted({9, 3})), counted({9, 3}) + 1));
}

TEST_CASE("a data_parallel on the cores that are left is untouched by the death of another") {
  frail_engine on{3, [](const auto& given) { return given.core == 2 ? fate::die : fate::run; }};
  const auto model = plus_one(2);
  data_parallel healthy{*on.host, model, {.device_ids = {0, 1}}}, doomed{*on.host, model, {.device_ids = {2}}};
  for (int i = 0; i < 3; ++i) {
    auto lost = doomed.submit({counted({4, 3})});
    EXPECT(same(answer(healthy, {counted({11, 3})}), counted({11, 3}) + 1));
    EXPECT(failure_of_future(std::move(lost)).code == errc::core_lost);
  }
  EXPECT(on.host->status().cores[0].restarts == 0);
  EXPECT(on.host->status().cores[1].restarts == 0);
}

TEST_CASE("futures are answered when cores die while the engine ends") {
  for (int round = 0; round < 5; ++round) {
    frail_engine on{2, [](const auto& given) { return given.nth % 50 == 0 ? fate::die : fate::run; },
                    std::chrono::milliseconds(200)};
    data_parallel parallel{*on.host, plus_one(1)};
    std::vector<std::future<c10::IValue>> futures;
    for (int i = 0; i < 500; ++i) futures.push_back(parallel.submit({counted({1, 3})}));
    on.host.reset();
    for (auto& future : futures) {
      REQUIRE(future.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
      const auto code = failure_of_future(std::move(future)).code;
      EXPECT((code == errc::ok || code == errc::core_lost || code == errc::draining));
    }
  }
}

TEST_CASE("requests that no actor has looked at when the engine ends are answered with draining") {
  std::promise<void> in_log, go_on;
  std::atomic<bool> first{true};
  engine_ears ears;
  lane_faults lanes;
  auto options = ears.options(2);
  options.make_lane = lanes.factory();
  options.shutdown_bound = std::chrono::milliseconds(0);
  // The supervisor speaks of the death on the engine's thread, and is held there while requests and the end come in.
  options.log = [&, log = options.log](log_level level, std::string_view sentence) {
    log(level, sentence);
    if (sentence.find("died") == sentence.npos || !first.exchange(false)) return;
    in_log.set_value();
    go_on.get_future().wait();
  };
  std::optional<engine> host{options};
  data_parallel parallel{*host, plus_one(2)};
  lanes.kill(1);
  auto held = in_log.get_future();
  REQUIRE(ready(held));
  std::vector<std::future<c10::IValue>> futures;
  for (int i = 0; i < 1000; ++i) futures.push_back(parallel.submit({counted({3, 3})}));
  std::thread end{[&] { host.reset(); }};
  ears.wait_for_sentence("1000 requests were not answered within 0 ms");
  go_on.set_value();
  end.join();
  for (auto& future : futures) {
    REQUIRE(future.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
    const auto f = failure_of_future(std::move(future));
    EXPECT((f.code == errc::ok || f.code == errc::draining));
    if (f.code != errc::ok && f.code != errc::draining) break;
  }
}

TEST_CASE("a lane that never finishes does not keep the engine from ending") {
  frail_engine on{2, [](const auto&) { return fate::hang; }, std::chrono::milliseconds(50)};
  data_parallel parallel{*on.host, plus_one(2)};
  std::vector<std::future<c10::IValue>> futures;
  for (int i = 0; i < 30; ++i) futures.push_back(parallel.submit({counted({5, 3})}));
  const auto begin = std::chrono::steady_clock::now();
  on.host.reset();
  EXPECT(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
  for (auto& future : futures) {
    REQUIRE(future.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
    EXPECT(failure_of_future(std::move(future)).code == errc::draining);
  }
  on.ears.wait_for_sentence("30 requests were not answered within 50 ms");
}

TEST_CASE("a forward that hangs does not keep the engine from ending, and its thread is counted until it ends") {
  REQUIRE(wait_for_abandoned_lanes(std::chrono::minutes(1)));
  const auto x = counted({1, 3});
  std::optional<forward_gate> gate;
  std::future<c10::IValue> future;
  {
    engine_ears ears;
    auto options = ears.options(1);
    options.shutdown_bound = std::chrono::milliseconds(50);
    engine host{options};
    data_parallel parallel{host, compiled(gated_plus_one(), {at::ones({1, 3})})};
    gate.emplace();
    future = parallel.submit({x});
    REQUIRE(gate->wait_for(1));
  }
  REQUIRE(future.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
  EXPECT(failure_of_future(std::move(future)).code == errc::draining);
  EXPECT(abandoned_lanes().count == 1);
  gate.reset();
  EXPECT(wait_for_abandoned_lanes(std::chrono::minutes(1)));
}

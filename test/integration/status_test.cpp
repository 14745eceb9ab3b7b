// What an engine tells of itself, after traffic of which everything is known.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/errors.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <ganglion/engine/prometheus.hpp>

#include <sstream>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;
namespace modules = test_modules;

namespace {

std::uint64_t outcome(const model_status& m, errc code) { return m.outcomes.at(static_cast<std::size_t>(code)); }

/// The value of a series in a text of Prometheus's; -1 where there is none.
double value_of(const std::string& text, const std::string& series) {
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(series + " ")) return std::stod(line.substr(series.size() + 1));
  return -1;
}

}  // namespace

TEST_CASE("status tells for each model what waits, what became of its requests, and how long they took") {
  engine_ears ears;
  auto options = ears.options(2);
  options.max_queued_rows = 100;
  engine host{options};
  data_parallel plain{host, compiled(modules::plus_one(), {at::ones({4, 3})})};
  data_parallel held{host, compiled(gated_plus_one(), {at::ones({1, 3})}), {.device_ids = {1}, .num_workers = 2}};

  for (int i = 0; i < 10; ++i) answer(plain, {counted({6, 3})});
  failure_of([&] { plain({counted({6, 4})}); });  // shape_mismatch, before it is accepted
  forward_gate gate;
  auto waits = held.submit({counted({50, 3})});
  REQUIRE(gate.wait_for(1));
  failure_of([&] { held({counted({90, 3})}); });  // queue_full

  const auto s = host.status();
  REQUIRE(s.models.size() == 2);
  const auto &a = s.models[0], &b = s.models[1];
  EXPECT(a.id == plain.id());
  EXPECT(a.content_hash == plain.model().content_hash());
  EXPECT(a.cores == std::vector<std::uint64_t>{0, 1});
  EXPECT(a.rows == 60);
  EXPECT(outcome(a, errc::ok) == 10);
  EXPECT(outcome(a, errc::shape_mismatch) == 1);
  EXPECT(a.unanswered == 0);
  EXPECT(a.queued_rows == 0);
  for (const auto* h : {&a.queued, &a.compute, &a.total}) EXPECT(h->count() == 10);
  EXPECT(a.total.sum() >= a.queued.sum() + a.compute.sum());
  EXPECT(a.total.sum() > 0ns);

  EXPECT(b.cores == std::vector<std::uint64_t>{1});
  EXPECT(b.rows == 50);
  EXPECT(b.unanswered == 1);
  EXPECT(b.executions_in_flight == 2);
  EXPECT(b.queued_rows == 48);
  EXPECT(b.queued_bytes == b.queued_rows * 3 * sizeof(float));
  EXPECT(outcome(b, errc::queue_full) == 1);
  EXPECT(b.total.count() == 0);
  EXPECT(s.queued_rows == b.queued_rows);
  EXPECT(s.queued_bytes == b.queued_bytes);

  gate.open();
  REQUIRE(ready(waits));
  const auto after = host.status().models.at(1);
  EXPECT(after.unanswered == 0);
  EXPECT(after.queued_bytes == 0);
  EXPECT(outcome(after, errc::ok) == 1);
  EXPECT(after.total.count() == 1);
}

TEST_CASE("status tells how long a core has lived and how much of that it was busy") {
  engine_ears ears;
  engine host{ears.options(1)};
  data_parallel parallel{host, compiled(modules::plus_one(), {at::ones({4, 3})})};
  for (int i = 0; i < 20; ++i) answer(parallel, {counted({4, 3})});
  ears.wait_for_executions(20);
  const auto c = host.status().cores.at(0);
  EXPECT(c.busy_ns > 0);
  EXPECT(c.busy_ns < c.up_ns);
  EXPECT_FALSE(c.lost);
}

TEST_CASE("a model that is gone is in no status") {
  engine_ears ears;
  engine host{ears.options(1)};
  {
    data_parallel parallel{host, compiled(modules::plus_one(), {at::ones({4, 3})})};
    EXPECT(host.status().models.size() == 1);
  }
  const auto end = std::chrono::steady_clock::now() + 1min;
  while (!host.status().models.empty() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  EXPECT(host.status().models.empty());
}

TEST_CASE("a status as Prometheus reads it") {
  status s;
  s.queued_rows = 12;
  s.cores.resize(2);
  s.cores[1].index = 1;
  s.cores[1].up = true;
  s.cores[1].busy_ns = 1'500'000'000;
  s.models.resize(1);
  auto& m = s.models[0];
  m.id = 7;
  m.content_hash = "ab\"c";
  m.outcomes.assign(errc_count, 0);
  m.outcomes[0] = 5;
  m.outcomes[static_cast<std::size_t>(errc::queue_full)] = 3;
  for (auto t : {20us, 20us, 100us, 5'000'000us}) m.total.add(t);
  const auto text = prometheus_text(s);
  NOTE(text);
  EXPECT(value_of(text, "ganglion_queued_rows") == 12);
  EXPECT(value_of(text, "ganglion_core_up{core=\"0\"}") == 0);
  EXPECT(value_of(text, "ganglion_core_up{core=\"1\"}") == 1);
  EXPECT(value_of(text, "ganglion_core_busy_seconds_total{core=\"1\"}") == 1.5);
  EXPECT(value_of(text, "ganglion_model_info{model=\"7\",content_hash=\"ab\\\"c\"}") == 1);
  EXPECT(value_of(text, "ganglion_model_requests_total{model=\"7\",code=\"ok\"}") == 5);
  EXPECT(value_of(text, "ganglion_model_requests_total{model=\"7\",code=\"queue_full\"}") == 3);
  EXPECT(value_of(text, "ganglion_request_seconds_count{model=\"7\"}") == 4);
  EXPECT(value_of(text, "ganglion_request_seconds_sum{model=\"7\"}") == doctest::Approx(5.00014));
  EXPECT(value_of(text, "ganglion_request_seconds_bucket{model=\"7\",le=\"1.6384e-05\"}") == 0);
  EXPECT(value_of(text, "ganglion_request_seconds_bucket{model=\"7\",le=\"3.2768e-05\"}") == 2);
  EXPECT(value_of(text, "ganglion_request_seconds_bucket{model=\"7\",le=\"+Inf\"}") == 4);
  EXPECT(contains(text, "# TYPE ganglion_request_seconds histogram"));
  EXPECT(contains(text, "# TYPE ganglion_core_restarts_total counter"));
}

// What an engine tells of itself, after traffic of which everything is known.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/errors.hpp>
#include <support/faulty_lane.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>
#include <support/scratch_folder.hpp>

#include <ganglion/engine/prometheus.hpp>

#include <boost/json.hpp>

#include <fstream>
#include <set>
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
  data_parallel held{host, compiled(gated_plus_one(), {at::ones({1, 3})}),
                     {.device_ids = {1}, .num_workers = 2, .split_size = 1}};

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

namespace {

/// What an engine needs to write a timeline, and what it wrote.
struct timeline {
  explicit timeline(std::size_t cores) : options(ears.options(cores)) { options.trace_out = path; }

  /// When the engine has ended.
  boost::json::array events() const {
    std::ifstream file{path};
    return boost::json::parse(std::string{std::istreambuf_iterator<char>{file}, {}}).as_array();
  }

  scratch_folder folder;
  std::filesystem::path path = folder / "timeline.json";
  engine_ears ears;
  engine_options options;
};

std::vector<boost::json::object> events_like(const boost::json::array& all, std::string_view phase,
                                             std::string_view category) {
  std::vector<boost::json::object> result;
  for (const auto& e : all)
    if (e.at("ph").as_string() == phase && (category.empty() || e.at("cat").as_string() == category))
      result.push_back(e.as_object());
  return result;
}

}  // namespace

TEST_CASE("a timeline has each execution on its core's lane, each request as a flow, and what waits") {
  timeline run{2};
  std::uint64_t model = 0;
  {
    engine host{run.options};
    data_parallel parallel{host, compiled(modules::plus_one(), {at::ones({4, 3})})};
    model = parallel.id();
    answer(parallel, {counted({10, 3})});
    answer(parallel, {counted({2, 3})});
  }
  const auto all = run.events();
  const auto executions = events_like(all, "X", "execution");
  const auto records = run.ears.executions();
  REQUIRE(executions.size() == records.size());
  std::int64_t rows = 0, padding = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const auto& args = executions[i].at("args");
    EXPECT(args.at("execution").to_number<std::uint64_t>() == records[i].execution_id);
    EXPECT(args.at("model").to_number<std::uint64_t>() == model);
    EXPECT(executions[i].at("tid").to_number<std::size_t>() == records[i].core + 1);
    rows += args.at("rows").to_number<std::int64_t>();
    padding += args.at("padding_rows").to_number<std::int64_t>();
  }
  EXPECT(rows == 12);
  EXPECT(padding == 4);
  EXPECT(events_like(all, "X", "request").size() == 2);
  EXPECT(events_like(all, "s", "request").size() == 2);
  EXPECT(events_like(all, "X", "answer").size() == 2);
  EXPECT(events_like(all, "t", "request").size() == 4);  // ten rows are three executions
  EXPECT(events_like(all, "f", "request").size() == 2);
  EXPECT(events_like(all, "X", "stage").size() == 2 * executions.size());
  EXPECT(events_like(all, "C", "").size() > 2 * executions.size());  // and those of all that waits
}

TEST_CASE("a timeline of a run with faults has what was lost, and one begin and one end of each request") {
  timeline run{2};
  lane_faults faults{[](const auto& given) {
    return given.core == 0 && given.nth == 1 ? lane_faults::fate::die : lane_faults::fate::run;
  }};
  run.options.make_lane = faults.factory();
  {
    engine host{run.options};
    data_parallel parallel{host, compiled(gated_plus_one(), {at::ones({4, 3})})};
    answer(parallel, {counted({10, 3})});
    forward_gate gate;
    std::stop_source stop;
    auto held = parallel.submit({counted({80, 3})});
    REQUIRE(gate.wait_for(1));
    auto cancelled = parallel.submit({counted({4, 3})}, {.stop = stop.get_token()});
    stop.request_stop();
    EXPECT(failure_of_future(std::move(cancelled)).code == errc::cancelled);
    gate.open();
    REQUIRE(ready(held));
  }
  const auto all = run.events();
  std::map<std::uint64_t, std::string> phases;
  for (const char* phase : {"s", "f"})
    for (const auto& e : events_like(all, phase, "request")) phases[e.at("id").to_number<std::uint64_t>()] += phase;
  REQUIRE(phases.size() == 3);
  for (const auto& [id, of_it] : phases) EXPECT(of_it == "sf");
  std::multiset<std::string> codes;
  for (const auto& e : events_like(all, "X", "answer")) codes.emplace(e.at("args").at("code").as_string());
  EXPECT(codes == std::multiset<std::string>{"ok", "ok", "cancelled"});
  std::size_t lost = 0;
  for (const auto& e : events_like(all, "X", "execution")) {
    if (!e.at("args").at("lost").as_bool()) continue;
    ++lost;
    EXPECT(e.at("tid").to_number<std::size_t>() == 1);
    EXPECT(e.at("dur").to_number<double>() > 0);
  }
  EXPECT(lost == 1);
}

TEST_CASE("in a timeline no flow goes on after its end, and what is taken back no longer waits") {
  timeline run{1};
  {
    engine host{run.options};
    data_parallel parallel{host, compiled(gated_plus_one(), {at::ones({4, 3})})};
    forward_gate gate;
    std::stop_source stop;
    auto held = parallel.submit({counted({4, 3})});
    REQUIRE(gate.wait_for(1));
    // Half of a full batch that waits on the core, and much that waits for it.
    auto in_lane = parallel.submit({counted({2, 3})}, {.stop = stop.get_token()});
    auto beside_it = parallel.submit({counted({2, 3})});
    auto waits = parallel.submit({counted({40, 3})}, {.stop = stop.get_token()});
    stop.request_stop();
    EXPECT(failure_of_future(std::move(in_lane)).code == errc::cancelled);
    EXPECT(failure_of_future(std::move(waits)).code == errc::cancelled);
    gate.open();
    REQUIRE(ready(held));
    REQUIRE(ready(beside_it));
  }
  const auto all = run.events();
  std::map<std::uint64_t, double> ends;
  for (const auto& e : events_like(all, "f", "request"))
    ends[e.at("id").to_number<std::uint64_t>()] = e.at("ts").to_number<double>();
  EXPECT(ends.size() == 4);
  const auto steps = events_like(all, "t", "request");
  EXPECT(steps.size() == 2);
  for (const auto& e : steps) EXPECT(e.at("ts").to_number<double>() <= ends.at(e.at("id").to_number<std::uint64_t>()));
  std::map<double, std::int64_t> waiting;
  for (const auto& e : events_like(all, "C", ""))
    if (contains(std::string{e.at("name").as_string()}, "model"))
      waiting[e.at("ts").to_number<double>()] = e.at("args").at("rows").to_number<std::int64_t>();
  REQUIRE(!waiting.empty());
  EXPECT(waiting.rbegin()->second == 0);
}

TEST_CASE("a timeline that cannot be written is refused") {
  scratch_folder folder;
  engine_options options;
  options.trace_out = folder / "nowhere/timeline.json";
  const auto f = failure_of([&] { engine{options}; });
  EXPECT(f.code == errc::io_failed);
  EXPECT(contains(f.text, "cannot be written: No such file or directory"));
}

// One model in the place of another while requests come: who answers what, what if it cannot be, what stays.
#include "supervisor_fixture.hpp"

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

compiled_model scripted_model(const std::string& code, std::vector<std::int64_t> shape = {4, 2}) {
  return trace(test_modules::scripted(code), {at::zeros(shape)}, {auto_cast::none, false});
}
const compiled_model& newer() {
  static const auto model = scripted_model("def forward(self, x):\n  return x + 2\n");
  return model;
}

/// A deployed model whose weights are let go of by everybody but the engine.
struct replacing_fixture : supervisor_fixture {
  coordinator_actor coordinator;
  std::shared_ptr<const deployment> old_target;
  std::weak_ptr<const deployment> old;
  std::uint64_t old_id = plus_one_model(4).id(), new_id = newer().id();

  explicit replacing_fixture(const std::function<void(supervisor_config&)>& change = {}, deploy m = wish())
      : supervisor_fixture(change) {
    auto d = deploy_model(std::move(m));
    coordinator = d.coordinator;
    old_target = d.target;
    old = d.target;
    lanes.loads_at_once = false;
  }
  ~replacing_fixture() { coordinator = nullptr; }

  void begin(const compiled_model& model = newer()) { client.ask<deployed>(coordinator, replace_model{model}); }
  void load(std::size_t core, failure error = {}) {
    lanes.load(core, std::move(error));
    system.run();
  }
  void load_all() {
    for (std::size_t core : {0, 1}) load(core);
  }
  /// Wants the replacement to have come to that.
  void expect_result(errc code = errc::ok) {
    auto d = client.expect<deployed>();
    NOTE(d.error.text);
    EXPECT(to_string(d.error.code) == to_string(code));
    EXPECT(d.ok() == static_cast<bool>(d.coordinator));
    if (d.ok()) EXPECT(d.coordinator == coordinator);
  }
  /// The model of the oldest execution on a core.
  std::uint64_t running(std::size_t core) {
    REQUIRE(lanes.started(core) > 0);
    return lanes.of(core).started.front()->model_id;
  }
  /// A request that was checked by the old model's signature.
  sent_request submit(std::int64_t rows = 4) {
    auto r = make_request(old_target, rows, gate);
    caf::anon_send(coordinator, submission{std::exchange(r.value, nullptr)});
    return r;
  }
  /// Runs whatever the cores have, until they have nothing more.
  void finish_all() {
    system.run();
    for (std::size_t core : {0, 1, 0, 1})
      while (lanes.started(core) > 0) finish(core);
  }
  /// How often cores were told to let it go.
  std::size_t unloaded(std::uint64_t model_id) {
    std::size_t count = 0;
    for (std::size_t core : {0, 1}) {
      const auto& all = lanes.of(core).unloaded;
      count += static_cast<std::size_t>(std::count(all.begin(), all.end(), model_id));
    }
    return count;
  }
};

}  // namespace

// -- the switch -------------------------------------------------------------------------------------------------------

TEST_CASE("replacing: the old model serves until every core has the new one, and nothing after it") {
  replacing_fixture f;
  f.begin();
  f.infer(f.coordinator, 1);
  EXPECT(f.running(0) == f.old_id);
  f.load(0);
  f.infer(f.coordinator, 2);
  EXPECT(f.running(1) == f.old_id);
  f.load(1);
  f.expect_result();
  f.infer(f.coordinator, 3);
  EXPECT(f.unloaded(f.old_id) == 0);  // it still runs what it accepted
  f.finish(0);
  f.expect_answered(1);
  EXPECT(f.running(0) == f.new_id);
  f.finish(1);
  f.expect_answered(2);
  EXPECT(f.unloaded(f.old_id) == 2);
  f.finish(0);
  f.expect_answered(3);
  EXPECT(f.unloaded(f.new_id) == 0);
  EXPECT(f.ask_status().cores[0].models == 1);
}

TEST_CASE("replacing: what waits for the old model is run by it, and then nobody holds it") {
  replacing_fixture f;
  std::vector<sent_request> before, after;
  for (int i = 0; i < 3; ++i) before.push_back(f.submit(12));
  f.system.run();
  f.begin();
  f.load_all();
  f.expect_result();
  for (int i = 0; i < 3; ++i) after.push_back(f.submit(12));
  f.old_target = nullptr;
  const auto told = f.ask_status();  // under one number, of both
  REQUIRE(told.models.size() == 1);
  EXPECT(told.executions_in_flight == 2);
  EXPECT(told.models[0].executions_in_flight == 2);
  std::size_t of_old = 0, of_new = 0;
  for (f.system.run(); f.lanes.started(0) + f.lanes.started(1) > 0;) {
    auto core = f.lanes.started(0) > 0 ? std::size_t{0} : std::size_t{1};
    ++(f.running(core) == f.old_id ? of_old : of_new);
    f.finish(core);
  }
  EXPECT(of_old == 9);
  EXPECT(of_new == 9);
  for (const auto* all : {&before, &after})
    for (const auto& r : *all) EXPECT(at::equal(r.got->only().outputs.toTensor(), numbered_rows(12) + 1));
  EXPECT(f.unloaded(f.old_id) == 2);
  EXPECT(f.old.expired());
}

TEST_CASE("replacing: at whichever moment a request comes, it is answered, and each by one model") {
  bool by_old = false, by_new = false, more = true;
  for (int moment = 0; more; ++moment) {
    replacing_fixture f;
    f.lanes.loads_at_once = true;
    f.client.post(f.coordinator, replace_model{newer()});
    for (int i = 0; i < moment && more; ++i) more = f.system.step();
    auto r = f.submit(8);
    f.system.run();
    REQUIRE(f.lanes.started(0) == 1);
    REQUIRE(f.lanes.started(1) == 1);
    EXPECT(f.running(0) == f.running(1));
    (f.running(0) == f.old_id ? by_old : by_new) = true;
    f.finish_all();
    REQUIRE(r.got->once());
    NOTE(r.got->only().error.text);
    EXPECT(r.got->only().ok());
    f.expect_result();
    EXPECT(f.unloaded(f.old_id) == 2);
  }
  EXPECT(by_old);
  EXPECT(by_new);
}

TEST_CASE("replacing: a model by itself") {
  replacing_fixture f;
  f.begin(plus_one_model(4));
  f.expect_result();
  f.infer(f.coordinator, 1);
  f.finish(0);
  f.expect_answered(1);
  EXPECT(f.unloaded(f.old_id) == 0);
  EXPECT(f.ask_status().cores[0].models == 1);
}

TEST_CASE("replacing: settings stay") {
  auto m = supervisor_fixture::wish();
  m.split_size = 2;
  m.coalescing.max_queue_delay = 5ms;
  m.warnings = std::make_shared<warning_log>();
  replacing_fixture f{{}, m};
  caf::anon_send(f.coordinator, configure{false, 1, {}});
  f.begin();
  f.load_all();
  auto d = f.client.expect<deployed>();
  REQUIRE(d.ok());
  EXPECT(d.target->cores == f.old_target->cores);
  EXPECT(d.target->coalescing.max_queue_delay == 5ms);
  EXPECT(d.target->id != f.old_target->id);
  d = {};
  f.infer(f.coordinator, 1, 4);
  EXPECT(f.lanes.started(0) + f.lanes.started(1) == 1);  // of two chunks of two rows
  EXPECT(f.lanes.of(0).started.front()->rows() == 2);
  f.finish_all();
  f.expect_answered(1, 4);
  caf::anon_send(f.coordinator, configure{true, {}, {}});
  f.begin(plus_one_model(4));
  f.load_all();
  f.expect_result();
  f.infer(f.coordinator, 2, 9);
  f.expect_failed(2, errc::batch_size_mismatch);
}

TEST_CASE("replacing: several are done in their order, and no more than two models are there at once") {
  replacing_fixture f;
  const auto last = scripted_model("def forward(self, x):\n  return x + 3\n");
  f.infer(f.coordinator, 1);
  f.begin();
  f.begin(last);
  f.load_all();
  f.expect_result();
  EXPECT(f.lanes.of(0).loading.empty());  // the old one still runs a request
  f.finish(0);
  f.expect_answered(1);
  f.client.expect_none();
  f.load_all();
  f.expect_result();
  EXPECT(f.lanes.of(0).unloaded == std::vector<std::uint64_t>{f.old_id, f.new_id});
  f.infer(f.coordinator, 2);
  EXPECT(f.running(0) == last.id());
  f.finish(0);
  f.expect_answered(2);
}

TEST_CASE("replacing: a model that still loads is replaced when it has loaded") {
  supervisor_fixture f;
  f.lanes.loads_at_once = false;
  coordinator_actor coordinator;
  auto m = f.wish();
  m.progress = [&coordinator](const deployment_progress& p) { coordinator = p.coordinator; };
  f.client.ask<deployed>(f.subject, std::move(m));
  f.client.ask<deployed>(coordinator, replace_model{newer()});
  EXPECT(f.lanes.of(0).loading.size() == 1);
  for (std::size_t core : {0, 1}) f.lanes.load(core);
  EXPECT(f.client.expect<deployed>().ok());
  EXPECT(f.lanes.of(0).loading.front() == newer().id());
  for (std::size_t core : {0, 1}) f.lanes.load(core);
  EXPECT(f.client.expect<deployed>().ok());
  coordinator = nullptr;
}

// -- what if ----------------------------------------------------------------------------------------------------------

TEST_CASE("replacing: where a core cannot load the new model the old one goes on, and another may be tried") {
  replacing_fixture f;
  f.begin();
  f.load(1);
  f.load(0, no_warm_up);
  f.expect_result(errc::forward_failed);
  EXPECT(f.unloaded(f.new_id) == 2);
  f.infer(f.coordinator, 1);
  EXPECT(f.running(0) == f.old_id);
  f.finish(0);
  f.expect_answered(1);
  f.begin();
  f.load_all();
  f.expect_result();
  EXPECT(f.unloaded(f.old_id) == 2);
}

TEST_CASE(
    "replacing: a core that dies while it loads the new model fails it, and starts again with the old one alone") {
  replacing_fixture f;
  f.begin();
  f.die(0);
  f.load(1);
  f.expect_result(errc::core_lost);
  f.system.advance(10ms);
  REQUIRE(f.lanes.of(0).loading.size() == 1);
  f.load(0);
  EXPECT(f.lanes.of(0).loaded.back() == f.old_id);
  auto r = f.submit(8);
  f.finish_all();
  EXPECT(r.got->only().ok());
}

TEST_CASE("replacing: a core that had the new model and died loads it again before it serves") {
  replacing_fixture f;
  f.begin();
  f.load(0);
  f.die(0);
  f.load(1);
  f.expect_result();
  f.system.advance(10ms);
  auto r = f.submit(8);
  f.system.run();
  EXPECT(f.lanes.started(0) == 0);
  EXPECT(f.running(1) == f.new_id);
  EXPECT_FALSE(f.ask_status().cores[0].up);
  EXPECT(std::ranges::count(f.lanes.of(0).loading, f.new_id) == 1);
  while (!f.lanes.of(0).loading.empty()) f.load(0);
  EXPECT(f.ask_status().cores[0].up);
  EXPECT(f.running(0) == f.new_id);
  f.finish_all();
  EXPECT(r.got->only().ok());
}

TEST_CASE("replacing: a core that is down is not waited for, and loads the new model when it starts again") {
  replacing_fixture f;
  f.die(1);
  f.begin();
  f.load(0);
  f.expect_result();
  f.infer(f.coordinator, 1);
  EXPECT(f.running(0) == f.new_id);
  f.system.advance(10ms);
  EXPECT(f.lanes.of(1).loading == std::deque<std::uint64_t>{f.new_id});
  f.infer(f.coordinator, 2);
  EXPECT(f.lanes.started(1) == 0);
  f.load(1);
  EXPECT(f.running(1) == f.new_id);
  f.finish_all();
  f.expect_answered(1);
  f.expect_answered(2);
}

TEST_CASE("replacing: where there is no room for both, the old model goes on") {
  const auto with_weights = [] { return trace(test_modules::linear(), {at::rand({3, 4})}, {auto_cast::none, false}); };
  const auto a = with_weights(), b = with_weights(), c = with_weights();
  replacing_fixture f{[&](auto& config) { config.core_memory_bytes = 2 * a.weight_bytes() - 1; },
                      supervisor_fixture::wish(a)};
  f.begin(b);
  f.expect_result(errc::core_memory_exceeded);
  EXPECT(f.ask_status().cores[0].models == 1);
  f.begin(a);  // needs none
  f.expect_result();
  // Room for two is room for any number of replacements, one after another.
  replacing_fixture g{[&](auto& config) { config.core_memory_bytes = 2 * a.weight_bytes(); },
                      supervisor_fixture::wish(a)};
  g.lanes.loads_at_once = true;
  for (const auto* next : {&b, &c, &a}) caf::anon_send(g.coordinator, replace_model{*next});
  g.begin(b);
  g.expect_result();
  EXPECT(g.ask_status().cores[0].models == 1);
}

TEST_CASE("replacing: another signature is refused, naming what differs") {
  replacing_fixture f;
  auto refused = [&f](const compiled_model& model) {
    f.begin(model);
    auto d = f.client.expect<deployed>();
    EXPECT_FALSE(d.ok());
    EXPECT(d.error.code == errc::shape_mismatch);
    return d.error.text;
  };
  EXPECT(contains(refused(plus_one_model(8)), "x is f32[8,2], not f32[4,2]"));
  EXPECT(contains(refused(scripted_model("def forward(self, x):\n  return [x]\n")), "output"));
  EXPECT(f.lanes.of(0).loading.empty());
}

TEST_CASE("replacing: a coordinator of another engine is refused") {
  replacing_fixture f;
  supervisor_fixture other;
  f.client.ask<deployed>(other.subject, replace_model{newer(), {}, nullptr, f.coordinator.address()});
  f.expect_result(errc::invalid_argument);
}

TEST_CASE("replacing: what could not be loaded cannot be replaced") {
  supervisor_fixture f;
  f.lanes.loads_at_once = false;
  coordinator_actor coordinator;
  auto m = f.wish();
  m.progress = [&coordinator](const deployment_progress& p) { coordinator = p.coordinator; };
  f.client.ask<deployed>(f.subject, std::move(m));
  for (std::size_t core : {0, 1}) f.lanes.load(core, no_warm_up);
  EXPECT(f.client.expect<deployed>().error.code == errc::forward_failed);
  f.client.ask<deployed>(coordinator, replace_model{newer()});
  EXPECT(f.client.expect<deployed>().error.code == errc::invalid_argument);
  coordinator = nullptr;
}

TEST_CASE("replacing: at whichever moment its clients go, it ends, and the cores let both models go") {
  std::set<errc> results;
  bool more = true;
  for (int moment = 0; more; ++moment) {
    replacing_fixture f;
    std::vector<failure> heard;
    auto hear = [&heard](const deployed& d) { heard.push_back(d.error); };
    f.lanes.loads_at_once = true;
    for (const auto* model : {&newer(), &plus_one_model(4)}) caf::anon_send(f.coordinator, replace_model{*model, hear});
    for (int i = 0; i < moment && more; ++i) more = f.system.step();
    auto r = f.submit();
    f.coordinator = nullptr;
    f.finish_all();
    EXPECT(r.got->only().ok());
    REQUIRE(heard.size() == 2);
    for (const auto& h : heard) results.insert(h.code);
    for (const auto& core : f.ask_status().cores) EXPECT(core.models == 0);
  }
  EXPECT(results == std::set<errc>{errc::ok, errc::cancelled});
}

TEST_CASE("replacing: an engine that ends meanwhile answers with draining, at whichever moment") {
  bool more = true;
  for (int moment = 0; more; ++moment) {
    replacing_fixture f;
    std::vector<failure> heard;
    auto hear = [&heard](const deployed& d) { heard.push_back(d.error); };
    f.lanes.loads_at_once = true;
    for (const auto* model : {&newer(), &plus_one_model(4)}) caf::anon_send(f.coordinator, replace_model{*model, hear});
    for (int i = 0; i < moment && more; ++i) more = f.system.step();
    f.system.end(f.subject);
    for (const auto& h : heard) EXPECT((h.code == errc::ok || h.code == errc::draining));
    EXPECT((heard.size() == 2 || moment < 2));  // what no supervisor has read is destroyed uncalled
    f.coordinator = nullptr;
  }
}

// Deploys that ask for progress: requests are taken at once and wait for a core that has the model.
#include "supervisor_fixture.hpp"

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {


/// A deploy under way, of which the loads are answered when the test says so.
struct loading_fixture : supervisor_fixture {
  std::vector<std::string> heard;  ///< "<cores ready> of <cores>"
  std::vector<failure> result;
  coordinator_actor coordinator;
  std::shared_ptr<const deployment> target;

  explicit loading_fixture(const std::function<void(supervisor_config&)>& change = {}) : supervisor_fixture(change) {
    lanes.loads_at_once = false;
    target = make_deployment(wish(), 2).value();
    send(plus_one_model(4));
  }
  /// What is under way is answered by the engine's end, into what is here.
  ~loading_fixture() {
    coordinator = nullptr;
    system.end(std::exchange(subject, nullptr));
  }

  void send(const compiled_model& model) {
    auto m = wish(model);
    m.target = target;
    m.progress = [this](const deployment_progress& p) {
      heard.push_back(fmt::format("{} of {}", p.cores_ready, p.cores));
      coordinator = p.coordinator;
    };
    m.reply = [this](const deployed& d) { result.push_back(d.error); };
    caf::anon_send(subject, std::move(m));
    system.run();
  }
  void load(std::size_t core, failure error = {}) {
    lanes.load(core, std::move(error));
    system.run();
  }
  sent_request submit(std::int64_t rows = 4, request_options options = {}) {
    auto r = make_request(target, rows, gate, 0, std::move(options));
    caf::anon_send(coordinator, submission{std::exchange(r.value, nullptr)});
    system.run();
    return r;
  }
  /// Its clients go.
  void let_go() {
    coordinator = nullptr;
    system.run();
  }
  void expect_result(errc code) {
    REQUIRE(result.size() == 1);
    NOTE(result[0].text);
    EXPECT(to_string(result[0].code) == to_string(code));
  }
};

void expect_refused(const sent_request& r, errc code) {
  REQUIRE(r.got->once());
  NOTE(r.got->only().error.text);
  EXPECT(to_string(r.got->only().error.code) == to_string(code));
}

}  // namespace

TEST_CASE("loading: the coordinator is there at once, and every core that is ready is heard of") {
  loading_fixture f;
  REQUIRE(f.coordinator);
  f.load(1);
  EXPECT(f.result.empty());
  f.load(0);
  EXPECT(f.heard == std::vector<std::string>{"0 of 2", "1 of 2", "2 of 2"});
  f.expect_result(errc::ok);
}

TEST_CASE("loading: a model that is there already is ready at once") {
  loading_fixture f;
  f.load(0);
  f.load(1);
  f.target = make_deployment(f.wish(), 2).value();
  f.heard.clear();
  f.result.clear();
  f.send(plus_one_model(4));
  EXPECT(f.heard == std::vector<std::string>{"2 of 2"});
  f.expect_result(errc::ok);
}

TEST_CASE("loading: requests wait for the first core that has the model, and run there while others load") {
  loading_fixture f;
  f.infer(f.coordinator, 1);
  f.infer(f.coordinator, 2);
  EXPECT(f.lanes.started(0) + f.lanes.started(1) == 0);
  f.load(1);
  EXPECT(f.lanes.started(0) == 0);
  f.finish(1);
  f.expect_answered(1);
  f.finish(1);
  f.expect_answered(2);
  EXPECT(f.result.empty());
  f.infer(f.coordinator, 3, 8);
  f.load(0);
  f.finish(0);
  f.finish(1);
  f.expect_answered(3, 8);
  f.expect_result(errc::ok);
}

TEST_CASE("loading: other models run on the cores meanwhile") {
  supervisor_fixture f;
  auto other = f.deploy_model(f.wish(plus_one_model(2)));
  f.lanes.loads_at_once = false;
  f.client.ask<deployed>(f.subject, f.wish(plus_one_model(4)));
  f.infer(other.coordinator, 1, 4);
  f.finish(0);
  f.finish(1);
  f.expect_answered(1, 4);
  f.lanes.load(0);
  f.lanes.load(1);
  EXPECT(f.client.expect<deployed>().ok());
}

TEST_CASE("loading: where it fails, what waits and what still comes is answered with the reason") {
  loading_fixture f{[](auto& c) { c.core_memory_bytes = plus_one_model(4).weight_bytes() + 1; }};
  auto waits = f.submit();
  f.infer(f.coordinator, 1);
  f.load(1);
  EXPECT(f.lanes.started(1) == 1);  // one of them runs already
  f.load(0, no_warm_up);
  f.expect_result(errc::forward_failed);
  expect_refused(waits, errc::forward_failed);
  f.expect_failed(1, errc::forward_failed);
  f.infer(f.coordinator, 2);
  f.expect_failed(2, errc::forward_failed);
  f.finish(1);
  EXPECT(f.lanes.of(1).unloaded.size() == 1);
  EXPECT(f.ask_status().cores[1].models == 0);
  EXPECT(f.gate->unanswered() == 0);
  // There is room again, whether or not the failed one was let go.
  f.lanes.loads_at_once = true;
  auto again = f.deploy_model();
  f.let_go();
  f.infer(again.coordinator, 3);
  f.finish(0);
  f.expect_answered(3);
}

TEST_CASE("loading: a core that dies meanwhile fails it with core_lost") {
  loading_fixture f;
  auto waits = f.submit();
  f.die(0);
  EXPECT(f.result.empty());
  f.load(1);
  f.expect_result(errc::core_lost);
  expect_refused(waits, errc::core_lost);
}

TEST_CASE("loading: an engine that ends meanwhile answers with draining") {
  loading_fixture f;
  auto waits = f.submit();
  f.infer(f.coordinator, 1);
  f.system.end(f.subject);
  f.expect_result(errc::draining);
  expect_refused(waits, errc::draining);
  f.expect_failed(1, errc::draining);
  f.let_go();
  EXPECT(f.system.alive() == 1);
}

TEST_CASE("loading: a drain waits for the requests that wait for their model") {
  loading_fixture f;
  auto waits = f.submit();
  f.client.ask<drained>(f.subject, drain{60'000});
  f.client.expect_none();
  f.load(0);
  f.finish(0);
  EXPECT(waits.got->only().ok());
  EXPECT(f.client.expect<drained>().unanswered == 0);
  f.load(1);
  f.expect_result(errc::ok);
}

TEST_CASE("loading: deadlines pass and requests are cancelled meanwhile, and the limits hold") {
  loading_fixture f{[](auto& c) { c.gate = std::make_shared<admission>(admission_limits{8, 1'000'000}); }};
  infer_request m;
  m.id = 1;
  m.inputs.value = c10::ivalue::Tuple::create({c10::IValue{numbered_rows(4)}});
  m.remaining_ms = 5;
  f.client.send(f.coordinator, m);
  f.infer(f.coordinator, 2);
  f.infer(f.coordinator, 3);
  f.expect_failed(3, errc::queue_full);
  f.system.advance(5ms);
  f.expect_failed(1, errc::deadline_exceeded);
  f.client.send(f.coordinator, cancel{2});
  f.expect_failed(2, errc::cancelled);
}

TEST_CASE("loading: without a client and without a request it ends, and its cores let the model go") {
  loading_fixture f;
  f.load(1);
  f.let_go();
  f.expect_result(errc::cancelled);
  EXPECT(f.lanes.of(0).unloaded.size() == 1);
  EXPECT(f.lanes.of(1).unloaded.size() == 1);
  EXPECT(f.ask_status().cores[1].models == 0);
  f.load(0);  // an answer that was on its way
  EXPECT(f.heard.size() == 2);
}

TEST_CASE("loading: without a client what was accepted is still answered, and then the model goes") {
  loading_fixture f;
  auto waits = f.submit(8);
  f.let_go();
  EXPECT(f.result.empty());
  f.load(0);
  f.finish(0);
  f.finish(0);
  EXPECT(at::equal(waits.got->only().outputs.toTensor(), numbered_rows(8) + 1));
  f.expect_result(errc::cancelled);
  EXPECT(f.lanes.of(0).unloaded.size() == 1);
}

TEST_CASE("loading: a late answer to a load that was given up is not taken for that of the next") {
  loading_fixture f;
  f.let_go();
  f.expect_result(errc::cancelled);
  f.client.ask<deployed>(f.subject, f.wish());
  for (std::size_t core : {0, 1}) f.load(core);  // the old ones, which their unload came too late for
  f.client.expect_none();
  for (std::size_t core : {0, 1}) f.load(core);
  auto d = f.client.expect<deployed>();
  REQUIRE(d.ok());
  f.infer(d.coordinator, 1);
  f.finish(0);
  f.expect_answered(1);
}

TEST_CASE("loading: a core that starts again does not wait for a model that has gone meanwhile") {
  supervisor_fixture f{[](auto& c) { c.cores.resize(1); }};
  auto a = f.deploy_model(f.wish(plus_one_model(4)));
  f.lanes.loads_at_once = false;
  f.die(0);
  f.system.advance(10ms);
  EXPECT_FALSE(f.ask_status().cores[0].up);
  a = {};
  f.system.run();
  EXPECT(f.ask_status().cores[0].up);
  f.lanes.load(0, {errc::cancelled, "the model was unloaded before it was loaded"});
  EXPECT(f.ask_status().cores[0].up);
  EXPECT(f.ask_status().cores[0].restarts == 1);
}

TEST_CASE("loading: what can be judged without an engine is") {
  auto with = [](const std::function<void(deploy&)>& change) {
    auto m = supervisor_fixture::wish();
    change(m);
    auto made = make_deployment(m, 2);
    return made ? errc::ok : made.error().code;
  };
  EXPECT(with([](auto&) {}) == errc::ok);
  EXPECT(with([](auto& m) { m.cores = {2}; }) == errc::invalid_device_id);
  EXPECT(with([](auto& m) { m.cores = {1, 1}; }) == errc::invalid_device_id);
  EXPECT(with([](auto& m) { m.dim = 2; }) == errc::dim_out_of_range);
  EXPECT(with([](auto& m) { m.split_size = 0; }) == errc::invalid_argument);
  EXPECT(with([](auto& m) { m.coalescing.max_queue_delay = -1ns; }) == errc::invalid_argument);
}

// Faults in a whole engine on the test scheduler: who is hurt by them, and that nobody else is.
#include "supervisor_fixture.hpp"

#include <ganglion/model_io/replica.hpp>

#include <map>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

/// An engine of one core that runs a real program when it is told to.
struct program_fixture : supervisor_fixture {
  compiled_model model;
  replica program;
  staging buffers;
  coordinator_actor coordinator;

  explicit program_fixture(const torch::jit::Module& module)
      : supervisor_fixture([](auto& c) { c.cores.resize(1); }),
        model(trace(module, {at::zeros({4, 2})}, {auto_cast::none, false})), program(model.make_replica()),
        coordinator(deploy_model(wish(model)).coordinator) {}
  ~program_fixture() { coordinator = nullptr; }

  void send(std::uint64_t id, at::Tensor x) {
    infer_request m;
    m.id = id;
    m.inputs.value = c10::ivalue::Tuple::create({c10::IValue{std::move(x)}});
    client.send(coordinator, std::move(m));
  }
  /// Runs what the core is given until it is given nothing more. Returns the number of executions.
  int run_all() {
    int executions = 0;
    for (; lanes.started(0) > 0; ++executions) {
      lanes.of(0).sink->finished({run_execution(lanes.take(0, 0), program, buffers, 0)});
      system.run();
    }
    return executions;
  }
};

/// The next answers that a client gets, by the numbers of their requests, of which each comes once.
std::map<std::uint64_t, infer_response> answers_of(probe& client, std::size_t count) {
  std::map<std::uint64_t, infer_response> result;
  for (std::size_t i = 0; i < count; ++i) {
    auto m = client.expect<infer_response>();
    EXPECT(result.emplace(m.id, m).second);
  }
  client.expect_none();
  return result;
}

torch::jit::Module without_memory_for_marked_rows() {
  return test_modules::scripted(R"(
def forward(self, x):
  if bool(torch.any(x > 1e6)):
    return x + torch.ones([1125899906842624]).sum()
  return x + 1
)");
}

/// Five requests share two executions: a row of the third makes the model fail.
void expect_only_the_owner_to_fail(const torch::jit::Module& module, const std::string& reason) {
  program_fixture f{module};
  f.send(0, numbered_rows(4));  // the core is busy, so that what comes now goes together
  auto marked = numbered_rows(4);
  marked[3].fill_(2e6);
  f.send(1, numbered_rows(1));
  f.send(2, numbered_rows(1));
  f.send(3, marked);
  f.send(4, numbered_rows(1));
  f.send(5, numbered_rows(1));
  EXPECT(f.run_all() == 5);  // the first, both, and the halves of the second
  for (const auto& [id, m] : answers_of(f.client, 6)) {
    NOTE(id << ": " << m.error.text);
    if (id != 3) {
      REQUIRE(m.ok());
      EXPECT(at::equal(m.outputs.value.toTensor(), numbered_rows(id == 0 ? 4 : 1) + 1));
      continue;
    }
    EXPECT(m.error.code == errc::forward_failed);
    EXPECT(contains(m.error.text, reason));
    EXPECT(m.error.first_row == 2);  // the two rows of it that were in the second execution
    EXPECT(m.error.last_row == 4);
    EXPECT(m.error.core == 0);
  }
  EXPECT(f.ask_status().cores[0].restarts == 0);
}

}  // namespace

TEST_CASE("faults: where a row makes the model fail only the request that owns it fails, with its rows") {
  expect_only_the_owner_to_fail(test_modules::fails_on_marked_rows(), "a row is marked");
}

TEST_CASE("faults: where a row leaves the model without memory only the request that owns it fails") {
  expect_only_the_owner_to_fail(without_memory_for_marked_rows(), "memory");
}

TEST_CASE("faults: a core that dies again and again counts as lost while the other serves, and is tried again") {
  supervisor_fixture f{[](auto& c) { c.restart.lost_after = 3; }};
  auto d = f.deploy_model();
  auto delay = 10ms;
  for (std::uint64_t death = 1; death <= 3; ++death, delay *= 2) {
    f.die(0);
    auto s = f.ask_status();
    EXPECT(s.cores[0].lost == (death == 3));
    EXPECT_FALSE(s.cores[0].up);
    EXPECT(s.cores[0].restarts == death);
    EXPECT(s.cores[1].up);
    f.infer(d.coordinator, death);
    f.finish(1);
    f.expect_answered(death);
    f.system.advance(delay - 1ns);
    EXPECT(f.lanes.of(0).born == death);
    f.system.advance(1ns);
    EXPECT(f.lanes.of(0).born == death + 1);
  }
  auto c = f.ask_status().cores[0];
  EXPECT(c.up);
  EXPECT_FALSE(c.lost);
  f.infer(d.coordinator, 4, 8);
  f.finish(0);
  f.finish(1);
  f.expect_answered(4, 8);
}

TEST_CASE("faults: when the last core is lost, what waits and what comes fails with core_lost at once") {
  supervisor_fixture f{[](auto& c) { c.restart.lost_after = 1; }};
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1, 40);
  f.infer(d.coordinator, 2);
  f.die(0);
  f.client.expect_none();
  f.die(1);
  for (const auto& [id, m] : answers_of(f.client, 2)) EXPECT(m.error.code == errc::core_lost);
  f.infer(d.coordinator, 3);
  f.expect_failed(3, errc::core_lost);
  f.system.advance(10ms);
  f.infer(d.coordinator, 4);
  f.finish(0);
  f.expect_answered(4);
}

TEST_CASE("faults: what a hung core held goes to another, and the stuck lane writes nothing when it wakes up") {
  supervisor_fixture f{[](auto& c) { c.limits.max_execution_time = 200ms; }};
  auto d = f.deploy_model();
  f.infer(d.coordinator, 1);
  auto stuck = f.lanes.begin(0);
  f.lanes.of(0).activity = {f.system.now(), false};
  f.system.advance(200ms - 1ns);
  EXPECT(f.lanes.started(1) == 0);
  f.system.advance(1ns);
  REQUIRE(f.lanes.started(1) == 1);
  EXPECT_FALSE(f.lanes.of(0).alive);
  f.lanes.run = [](const auto& leaves) -> c10::IValue { return leaves.front().toTensor() + 100; };
  EXPECT_FALSE(f.lanes.complete(stuck, 0).ran);
  f.client.expect_none();
  f.lanes.run = puppet_lanes{}.run;
  f.finish(1);
  f.expect_answered(1);
  f.system.advance(10ms);
  EXPECT(f.lanes.of(0).born == 2);
  auto c = f.ask_status().cores[0];
  EXPECT(c.up);
  EXPECT(c.restarts == 1);
}

TEST_CASE("faults: thousands of requests that are open when the engine ends are answered once each") {
  constexpr std::uint64_t many = 3'000;
  supervisor_fixture f;
  auto d = f.deploy_model();
  for (std::uint64_t id = 1; id <= many; ++id) f.infer(d.coordinator, id, 1);
  f.lanes.begin(0);
  f.finish(1);
  f.system.end(f.subject);
  std::map<errc, std::size_t> codes;
  for (const auto& [id, m] : answers_of(f.client, many)) ++codes[m.error.code];
  EXPECT(codes[errc::ok] > 0);
  EXPECT(codes[errc::ok] + codes[errc::draining] == many);
  EXPECT(f.gate->unanswered() == 0);
  EXPECT(f.gate->queued_rows() == 0);
}

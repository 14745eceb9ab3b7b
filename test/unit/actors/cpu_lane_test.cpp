// The lane of a CPU thread, with its real thread: loads and executions in turn.
#include <support/doctest.hpp>
#include <support/forward_gate.hpp>
#include <support/requests.hpp>

#include <ganglion/actors/core/cpu_lane.hpp>

#include <condition_variable>
#include <mutex>
#include <thread>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

/// Everything that a lane says, in its order.
class lane_ears final : public lane_sink {
 public:
  void loaded(load_report report) override {
    hear(fmt::format("{} {}", to_string(report.error.code), report.model_id));
  }
  void finished(std::vector<execution_report> reports) override {
    for (const auto& r : reports) hear(fmt::format("{} execution {}", to_string(r.error.code), r.work->id));
  }
  void lost(std::string reason) override { hear(std::move(reason)); }

  /// Waits until so much was said, for a minute at most.
  std::vector<std::string> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, 1min, [&] { return said_.size() >= count; });
    return said_;
  }

 private:
  void hear(std::string what) {
    std::lock_guard lock(mutex_);
    said_.push_back(std::move(what));
    came_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<std::string> said_;
};

struct lane_fixture {
  compiled_model plus_one = plus_one_model(4);
  compiled_model gated = trace(gated_plus_one(), {at::zeros({4, 2})}, {auto_cast::none, false});
  std::shared_ptr<lane_ears> ears = std::make_shared<lane_ears>();
  std::unique_ptr<lane> subject;
  std::uint64_t executions = 0;

  explicit lane_fixture(std::chrono::nanoseconds idle_spin = 0ns)
      : subject(make_cpu_lane({0, 1, {}, idle_spin}, ears)) {}

  static std::string ok(const compiled_model& m) { return fmt::format("ok {}", m.id()); }
  static std::string cancelled(const compiled_model& m) { return fmt::format("cancelled {}", m.id()); }

  /// Starts an execution of four rows.
  sent_request start(const compiled_model& model) {
    auto r = make_request(deployment_of(model, 1, {0}), 4);
    r.value->plan(true, {});
    auto work = std::make_shared<execution>();
    work->id = ++executions;
    work->model_id = model.id();
    work->batch = 4;
    work->parts.push_back({r.value, &r.value->add_slot(0, 4, 0), 0, 0});
    subject->start(std::move(work));
    return r;
  }
};

}  // namespace

TEST_CASE("cpu lane: executions that wait go before the next step of a load") {
  lane_fixture f;
  f.subject->load(f.plus_one);
  REQUIRE(f.ears->wait_for(1).size() == 1);
  forward_gate gate{1};
  f.subject->load(f.gated);
  REQUIRE(gate.wait_for(1));  // it stands in the first run of its warm-up, of several
  auto a = f.start(f.plus_one), b = f.start(f.plus_one);
  EXPECT(f.subject->depth() == 2);
  gate.open();
  EXPECT(f.ears->wait_for(4) ==
         std::vector<std::string>{f.ok(f.plus_one), "ok execution 1", "ok execution 2", f.ok(f.gated)});
  for (const auto& r : {a, b}) {
    REQUIRE(r.got->once());
    EXPECT(at::equal(r.got->only().outputs.toTensor(), numbered_rows(4) + 1));
  }
  EXPECT(f.subject->depth() == 0);
}

TEST_CASE("cpu lane: loads end in the order in which they began") {
  lane_fixture f;
  forward_gate gate{1};
  f.subject->load(f.gated);
  REQUIRE(gate.wait_for(1));
  f.subject->load(f.plus_one);
  gate.open();
  EXPECT(f.ears->wait_for(2) == std::vector<std::string>{f.ok(f.gated), f.ok(f.plus_one)});
  f.start(f.gated);
  f.start(f.plus_one);
  EXPECT(f.ears->wait_for(4).size() == 4);
}

TEST_CASE("cpu lane: an unload ends the loads of its model that came before it, and those alone") {
  lane_fixture f;
  forward_gate gate{1};
  f.subject->load(f.gated);
  REQUIRE(gate.wait_for(1));
  f.subject->load(f.plus_one);
  f.subject->load(f.gated);
  f.subject->unload(f.gated.id());
  f.subject->load(f.gated);
  gate.open();
  EXPECT(f.ears->wait_for(4) ==
         std::vector<std::string>{f.cancelled(f.gated), f.cancelled(f.gated), f.ok(f.plus_one), f.ok(f.gated)});
  auto r = f.start(f.gated);
  EXPECT(f.ears->wait_for(5).back() == "ok execution 1");
  EXPECT(at::equal(r.got->only().outputs.toTensor(), numbered_rows(4) + 1));
}

TEST_CASE("cpu lane: one that is given up in the middle of a load ends with its step, and says nothing more") {
  lane_fixture f;
  REQUIRE(wait_for_abandoned_lanes(1min));  // of other tests
  forward_gate gate{1};
  f.subject->load(f.gated);
  REQUIRE(gate.wait_for(1));
  f.subject.reset();
  EXPECT(abandoned_lanes().count == 1);
  EXPECT(abandoned_lanes().bytes == f.gated.weight_bytes());
  gate.open();
  EXPECT(wait_for_abandoned_lanes(1min));
  EXPECT(f.ears->wait_for(0).empty());
}

TEST_CASE("cpu lane: one that looks for more work takes what comes meanwhile and what comes when it sleeps") {
  for (const std::chrono::nanoseconds spin : {1ns, 1'000'000'000ns}) {  // it sleeps at once, or is looking still
    lane_fixture f(spin);
    f.subject->load(f.plus_one);
    REQUIRE(f.ears->wait_for(1).size() == 1);
    std::vector<sent_request> sent;
    for (std::size_t i = 1; i <= 20; ++i) {
      sent.push_back(f.start(f.plus_one));
      REQUIRE(f.ears->wait_for(1 + i).size() == 1 + i);
    }
    for (const auto& r : sent) EXPECT(r.got->once());
  }
}

TEST_CASE("cpu lane: one that looks for more work is idle: it ends at once, and nobody is left behind") {
  REQUIRE(wait_for_abandoned_lanes(1min));  // of other cases, where they run in one process
  lane_fixture f(24h);
  f.subject->load(f.plus_one);
  REQUIRE(f.ears->wait_for(1).size() == 1);
  f.start(f.plus_one);
  REQUIRE(f.ears->wait_for(2).size() == 2);
  while (f.subject->activity()) std::this_thread::yield();  // it has told, but may not be through with telling
  f.subject.reset();
  EXPECT(abandoned_lanes().count == 0);
}

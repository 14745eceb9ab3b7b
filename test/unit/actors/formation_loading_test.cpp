// Deployments of which the model is still on its way to some cores.
#include "formation_fixture.hpp"

#include <support/errors.hpp>

#include <algorithm>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

struct loading_fixture : formation_fixture {
  using formation_fixture::formation_fixture;

  /// A deployment on two cores that are up and have not loaded it.
  std::shared_ptr<const deployment> add_loading(std::uint64_t id, std::int64_t batch = 4) {
    for (std::size_t core : {0, 1}) queue.core_up(core);
    auto d = deployment_of_batch(batch, id, {0, 1});
    queue.add(d, {}, {0, 1});
    return d;
  }
};

}  // namespace

TEST_CASE("formation: what waits for a model goes to the first core that has it, and to the others as they come") {
  loading_fixture f{{1, 0, 1}};
  auto d = f.add_loading(1);
  auto r = f.enqueue(d, 16);
  EXPECT(f.pump() == 0);
  f.queue.model_on_core(1, 1);
  EXPECT(f.pump() == 1);
  EXPECT(f.held[1].size() == 1);
  f.queue.model_on_core(1, 0);
  EXPECT(f.pump() == 1);
  EXPECT(f.held[0].size() == 1);
  f.run_all();
  expect_answered(r, 16);
  f.expect_all_gone();
}

TEST_CASE("formation: cores are used in the order given, whichever had the model first") {
  std::vector<std::size_t> ready{0, 1, 2};
  do {
    formation_fixture f{{1, 0, 1}};
    auto d = deployment_of_batch(4, 1, {2, 0, 1});
    for (auto core : ready) f.queue.core_up(core);
    f.queue.add(d, {}, {0, 1, 2});
    for (auto core : ready) f.queue.model_on_core(1, core);
    for (std::size_t core : {2, 0, 1}) {
      f.enqueue(d, 4);
      REQUIRE(f.pump() == 1);
      EXPECT(f.held[core].size() == 1);
    }
    f.run_all();
    f.expect_all_gone();
  } while (std::next_permutation(ready.begin(), ready.end()));
}

TEST_CASE("formation: a request that is alone is shared out over the cores that have its model") {
  loading_fixture f{{1'000, 1e9, 1'000}};
  auto d = f.add_loading(1, 1);
  f.queue.model_on_core(1, 1);
  auto r = f.enqueue(d, 10);
  EXPECT(f.pump() == 10);
  EXPECT(f.held[1].size() == 10);
  f.run_all();
  f.queue.model_on_core(1, 0);
  f.enqueue(d, 10);
  f.pump();
  EXPECT(f.held[0].size() == 5);
  f.run_all();
  f.expect_all_gone();
}

TEST_CASE("formation: others find the engine idle although something waits for its model") {
  loading_fixture f{{1'000, 1e9, 1'000}};
  auto late = f.add_loading(1);
  auto d = f.add(2, 1, {0, 1});
  auto waits = f.enqueue(late, 4);
  f.enqueue(d, 10);
  f.pump();
  EXPECT(f.held[0].size() == 5);
  EXPECT(f.held[1].size() == 5);
  f.run_all();
  EXPECT(waits.got->all.empty());
  f.queue.fail_deployment(1, {errc::forward_failed, "no"});
  f.expect_all_gone();
}

TEST_CASE("formation: the time for which rows waited for their model is not made up for in turns") {
  loading_fixture f{{1, 0, 1}};
  auto late = f.add_loading(1);
  auto steady = f.add(2, 4, {0});
  auto waits = f.enqueue(late, 8 * 4);
  f.enqueue(steady, 40 * 4);
  for (int i = 0; i < 20; ++i) {  // 20 turns that the other has had meanwhile
    f.pump();
    f.finish(0, 0, 1ms);
  }
  f.queue.model_on_core(1, 0);
  std::map<std::uint64_t, int> ran;
  for (int i = 0; i < 10; ++i) {
    REQUIRE(f.pump() == 1);
    ++ran[f.held[0].front()->deployment_id];
    f.finish(0, 0, 1ms);
  }
  EXPECT(ran[2] >= 4);
  EXPECT(ran[1] >= 4);
  f.run_all();
  expect_answered(waits, 8 * 4);
}

TEST_CASE("formation: deadlines and cancellation count while a model is loaded") {
  loading_fixture f;
  auto d = f.add_loading(1);
  request_options options;
  options.deadline = f.now + 5ms;
  auto late = f.enqueue(d, 4, options);
  auto cancelled = f.enqueue(d, 4);
  REQUIRE(f.queue.due());
  EXPECT(*f.queue.due() == f.now + 5ms);
  f.queue.cancel(cancelled.id, cancelled_by_caller());
  expect_failed(cancelled, errc::cancelled);
  f.wait(5ms);
  expect_failed(late, errc::deadline_exceeded);
  f.expect_all_gone();
}

TEST_CASE("formation: a deployment that failed fails what waits, what runs and what comes, with its reason") {
  loading_fixture f{{1, 0, 1}};
  auto d = f.add_loading(1);
  auto r = f.enqueue(d, 12);
  f.queue.model_on_core(1, 0);
  EXPECT(f.pump() == 1);
  f.queue.fail_deployment(1, {errc::forward_failed, "the other core could not warm it"});
  expect_failed(r, errc::forward_failed);
  auto after = f.enqueue(d, 4);
  expect_failed(after, errc::forward_failed);
  EXPECT(after.got->only().error.text == "the other core could not warm it");
  EXPECT(f.pump() == 0);
  f.finish(0);  // what ran is for nobody
  REQUIRE(f.queue.close(1));
  EXPECT(f.queue.take_closed() == std::vector<std::uint64_t>{1});
  f.expect_all_gone();
}

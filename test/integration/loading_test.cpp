// A data_parallel that is made without waiting: ready as future and token, requests before it is, other traffic.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/faulty_lane.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <ganglion/engine/async_infer.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <pthread.h>

using namespace ganglion;
using namespace ganglion::test;
namespace asio = boost::asio;
namespace modules = test_modules;

namespace {

compiled_model gated() { return compiled(gated_plus_one(), {at::ones({1, 3})}); }

/// What came of a loading, waited for.
failure result_of(const std::shared_future<void>& ready) {
  REQUIRE(ready.wait_for(std::chrono::minutes(1)) == std::future_status::ready);
  return failure_of([&] { ready.get(); });
}

bool is_pending(const std::shared_future<void>& ready) {
  return ready.wait_for(std::chrono::seconds(0)) == std::future_status::timeout;
}

struct loading_fixture {
  engine_ears ears;
  engine host;
  explicit loading_fixture(std::size_t cores = 2) : host(ears.options(cores)) {}
};

}  // namespace

TEST_CASE("begin_loading returns at once, and its requests wait for the model") {
  loading_fixture f;
  const auto model = gated();
  forward_gate gate;
  auto parallel = data_parallel::begin_loading(f.host, model);
  REQUIRE(gate.wait_for(2));  // both cores stand in the first run of their warm-up
  EXPECT(is_pending(parallel.ready()));
  EXPECT(parallel.progress().cores_ready == 0);
  EXPECT(parallel.progress().cores == 2);
  EXPECT(parallel.cores().size() == 2);
  EXPECT(parallel.dynamic_batching());
  std::vector<std::future<c10::IValue>> calls;
  for (int i = 0; i < 20; ++i) calls.push_back(parallel.submit({counted({3, 3})}));
  EXPECT(failure_of_future(parallel.submit({counted({3, 4})})).code == errc::shape_mismatch);
  gate.open();
  EXPECT(result_of(parallel.ready()).code == errc::ok);
  EXPECT(parallel.progress().cores_ready == 2);
  for (auto& call : calls) EXPECT(same(call.get().toTensor(), counted({3, 3}) + 1));
  EXPECT(same(answer(parallel, {counted({5, 3})}), counted({5, 3}) + 1));
  EXPECT(at_rest(f.host));
}

TEST_CASE("the first core that is ready serves while another still loads") {
  loading_fixture f;
  const auto model = gated();
  forward_gate gate{1};
  auto parallel = data_parallel::begin_loading(f.host, model);
  REQUIRE(gate.wait_for(1));
  EXPECT(same(answer(parallel, {counted({7, 3})}), counted({7, 3}) + 1));
  EXPECT(is_pending(parallel.ready()));
  EXPECT(parallel.progress().cores_ready == 1);
  gate.open();
  EXPECT(result_of(parallel.ready()).code == errc::ok);
}

TEST_CASE("executions of other models go between the steps of loading") {
  loading_fixture f{1};
  data_parallel other{f.host, plus_one()};
  const auto model = gated();
  std::mutex mutex;
  std::vector<std::string> order;
  std::promise<void> both;
  const auto note = [&](std::string what) {
    std::lock_guard lock(mutex);
    order.push_back(std::move(what));
    if (order.size() == 2) both.set_value();
  };
  forward_gate gate{1};
  auto parallel = data_parallel::begin_loading(f.host, model);
  parallel.when_ready([&](failure&& failed) { note(failed.code == errc::ok ? "ready" : failed.text); });
  REQUIRE(gate.wait_for(1));
  other.start({counted({1, 3})}, {}, [&](response&& r) { note(r.ok() ? "answered" : r.text()); });
  while (f.host.status().executions_in_flight == 0) {
  }
  gate.open();
  auto done = both.get_future();
  REQUIRE(ready(done));
  EXPECT(order == std::vector<std::string>{"answered", "ready"});
}

TEST_CASE("ready comes through any completion token, never inside of the call") {
  loading_fixture f;
  asio::io_context context;
  int called = 0;
  auto parallel = data_parallel::begin_loading(f.host, plus_one());
  const auto count = [&](std::exception_ptr e) {
    ++called;
    EXPECT_FALSE(e);
  };
  parallel.async_ready(asio::bind_executor(context, count));
  parallel.async_ready(asio::use_future).get();
  parallel.async_ready(asio::bind_executor(context, count));  // it is ready: also then not inside of the call
  EXPECT(called == 0);
  auto work = [&]() -> asio::awaitable<void> {
    co_await parallel.async_ready(asio::use_awaitable);
    ++called;
  };
  asio::co_spawn(context, work, asio::detached);
  context.run();
  EXPECT(called == 3);
  std::promise<std::string> name;
  parallel.async_ready([&](std::exception_ptr) {
    char text[16] = {};
    pthread_getname_np(pthread_self(), text, sizeof text);
    name.set_value(text);
  });
  auto named = name.get_future();
  REQUIRE(ready(named));
  EXPECT(named.get() == "ganglion-done");
}

TEST_CASE("a wait for ready is cancelled by its slot, and the loading goes on") {
  loading_fixture f;
  const auto model = gated();
  asio::io_context context;
  asio::cancellation_signal signal;
  errc code = errc::ok;
  forward_gate gate;
  auto parallel = data_parallel::begin_loading(f.host, model);
  parallel.async_ready(asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(context, [&](auto e) {
                                                      code = failure_of([&] { std::rethrow_exception(e); }).code;
                                                    })));
  signal.emit(asio::cancellation_type::terminal);
  context.run();
  EXPECT(code == errc::cancelled);
  EXPECT_FALSE(signal.slot().has_handler());
  EXPECT(is_pending(parallel.ready()));
  gate.open();
  EXPECT(result_of(parallel.ready()).code == errc::ok);
}

TEST_CASE("what those throw who wait for ready is told to the log, and the loading and the engine go on") {
  loading_fixture f;
  const auto model = gated();
  forward_gate gate;
  auto parallel = data_parallel::begin_loading(f.host, model);
  std::stop_source stop;
  parallel.when_ready([](failure&&) { throw 5; }, stop.get_token());
  parallel.when_ready([](failure&&) { throw std::runtime_error("mine"); });
  stop.request_stop();
  EXPECT(contains(f.ears.wait_for_sentence("a wait for a data_parallel threw"), "no exception type"));
  gate.open();
  EXPECT(result_of(parallel.ready()).code == errc::ok);
  EXPECT(f.ears.wait_for_sentence("mine") == "the callback of a wait for a data_parallel threw: mine");
  EXPECT(same(answer(parallel, {counted({5, 3})}), counted({5, 3}) + 1));
}

TEST_CASE("what is wrong with the options is thrown at once, and what the cores say comes through ready") {
  engine_ears ears;
  auto options = ears.options(2);
  options.core_memory_bytes = 10;
  engine host{options};
  const auto large = compiled(modules::linear(), {at::rand({3, 4})});
  EXPECT(failure_of([&] { data_parallel::begin_loading(host, large, {.device_ids = {2}}); }).code ==
         errc::invalid_device_id);
  EXPECT(failure_of([&] { data_parallel::begin_loading(host, large, {.dim = 2}); }).code == errc::dim_out_of_range);
  EXPECT(failure_of([&] { data_parallel::begin_loading(host, large, {.num_workers = 0}); }).code ==
         errc::invalid_argument);
  auto parallel = data_parallel::begin_loading(host, large);
  auto early = parallel.submit({at::rand({3, 4})});
  const auto failed = result_of(parallel.ready());
  EXPECT(failed.code == errc::core_memory_exceeded);
  for (const auto& f : {failure_of_future(std::move(early)), failure_of([&] { parallel({at::rand({3, 4})}); })}) {
    NOTE(f.text);
    EXPECT(f == failed);
  }
  EXPECT(failure_of([&] { parallel.async_ready(asio::use_future).get(); }) == failed);
  EXPECT(failure_of([&] { data_parallel{host, large}; }) == failed);
  parallel.num_workers(3);
  EXPECT(parallel.num_workers() == 3);
  EXPECT(at_rest(host));
}

TEST_CASE("where a core dies while it loads, ready and the requests that waited say core_lost") {
  engine_ears ears;
  lane_faults lanes;
  auto options = ears.options(1);
  options.make_lane = lanes.factory();
  engine host{options};
  lanes.die_loading(true);
  auto parallel = data_parallel::begin_loading(host, plus_one());
  auto early = parallel.submit({counted({3, 3})});
  EXPECT(result_of(parallel.ready()).code == errc::core_lost);
  EXPECT(failure_of_future(std::move(early)).code == errc::core_lost);
  lanes.die_loading(false);
  data_parallel again{host, plus_one()};
  EXPECT(same(answer(again, {counted({5, 3})}), counted({5, 3}) + 1));
}

TEST_CASE("on the engine's own threads a data_parallel can be made, for nothing waits there") {
  loading_fixture f;
  data_parallel first{f.host, plus_one()};
  const auto model = plus_one(2);
  std::promise<std::optional<data_parallel>> made;
  first.start({counted({1, 3})}, {}, [&](response&&) { made.set_value(data_parallel::begin_loading(f.host, model)); });
  auto future = made.get_future();
  REQUIRE(ready(future));
  auto second = future.get();
  EXPECT(same(answer(*second, {counted({5, 3})}), counted({5, 3}) + 1));
  EXPECT(result_of(second->ready()).code == errc::ok);
}

TEST_CASE("one that is destroyed while it loads ends the loading; what it accepted is answered") {
  loading_fixture f;
  const auto model = gated();
  std::shared_future<void> idle, busy;
  std::future<c10::IValue> call;
  {
    forward_gate gate;
    {
      auto parallel = data_parallel::begin_loading(f.host, model);
      idle = parallel.ready();
      REQUIRE(gate.wait_for(2));
    }
    EXPECT(result_of(idle).code == errc::cancelled);
    auto parallel = data_parallel::begin_loading(f.host, model);
    busy = parallel.ready();
    call = parallel.submit({counted({3, 3})});
  }
  REQUIRE(ready(call));
  EXPECT(same(call.get().toTensor(), counted({3, 3}) + 1));
  result_of(busy);  // it comes, whatever it is
  EXPECT(at_rest(f.host));
  while (f.host.status().cores[0].models > 0 || f.host.status().cores[1].models > 0) {
  }
}

TEST_CASE("many are made and destroyed at once, and every future of theirs becomes ready") {
  loading_fixture f;
  const auto model = plus_one(2), other = plus_one(3);
  std::vector<std::shared_future<void>> made;
  std::vector<std::future<c10::IValue>> calls;
  for (int i = 0; i < 200; ++i) {
    auto parallel = data_parallel::begin_loading(f.host, i % 2 ? model : other);
    made.push_back(parallel.ready());
    if (i % 3) calls.push_back(parallel.submit({counted({7, 3})}));
  }
  for (auto& call : calls) {
    REQUIRE(ready(call));
    EXPECT(same(call.get().toTensor(), counted({7, 3}) + 1));
  }
  for (const auto& ready : made) {
    const auto code = result_of(ready).code;
    EXPECT((code == errc::ok || code == errc::cancelled));
  }
  data_parallel last{f.host, model};
  EXPECT(same(answer(last, {counted({5, 3})}), counted({5, 3}) + 1));
}

TEST_CASE("an engine that ends while a model is loaded: what was accepted is answered in time, or with draining") {
  for (const auto bound : {std::chrono::milliseconds{60'000}, std::chrono::milliseconds{0}}) {
    engine_ears ears;
    auto options = ears.options(2);
    options.shutdown_bound = bound;
    auto host = std::make_unique<engine>(options);
    auto loads = data_parallel::begin_loading(*host, plus_one(2));
    auto call = loads.submit({counted({3, 3})});
    auto idle = data_parallel::begin_loading(*host, plus_one(3));
    host.reset();
    REQUIRE(call.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
    const auto code = failure_of_future(std::move(call)).code;
    EXPECT((code == errc::ok || code == errc::draining));
    if (bound.count() > 0) EXPECT(code == errc::ok);
    for (const auto* parallel : {&loads, &idle}) {
      const auto result = result_of(parallel->ready()).code;
      EXPECT((result == errc::ok || result == errc::draining));
    }
    EXPECT(failure_of([&] { loads({counted({3, 3})}); }).code == errc::draining);
  }
}

TEST_CASE("an engine that ends while a core stands in a warm-up does not wait for it, and ready says draining") {
  const auto model = gated();
  engine_ears ears;
  auto options = ears.options(1);
  options.shutdown_bound = std::chrono::milliseconds{0};
  auto host = std::make_unique<engine>(options);
  forward_gate gate;
  auto parallel = data_parallel::begin_loading(*host, model);
  auto call = parallel.submit({counted({1, 3})});
  REQUIRE(gate.wait_for(1));
  host.reset();
  EXPECT(result_of(parallel.ready()).code == errc::draining);
  EXPECT(failure_of_future(std::move(call)).code == errc::draining);
}

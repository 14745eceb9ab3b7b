// Engines and data_parallels that are moved from, forked, ended inside of their own callbacks, or short of threads.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <ganglion/engine/async_infer.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace modules = test_modules;

namespace {

/// What a coroutine of Asio's gets that waits for an answer.
at::Tensor awaited_answer(data_parallel& parallel, const at::Tensor& x) {
  asio::io_context context;
  const auto ask = [&]() -> asio::awaitable<at::Tensor> {
    std::vector<c10::IValue> inputs{x};
    request_options options;
    const auto answer = co_await parallel.async_infer(inputs, options, asio::use_awaitable);
    co_return answer.outputs.toTensor();
  };
  auto future = asio::co_spawn(context, ask, asio::use_future);
  context.run();
  return future.get();
}

/// The same of one that waits until the model is loaded.
void await_ready(data_parallel& parallel) {
  asio::io_context context;
  const auto wait = [&]() -> asio::awaitable<void> { co_await parallel.async_ready(asio::use_awaitable); };
  auto future = asio::co_spawn(context, wait, asio::use_future);
  context.run();
  future.get();
}

/// While it lives no thread can be made: none has room for a stack of that size.
class no_more_threads {
 public:
  no_more_threads() {
    pthread_getattr_default_np(&before_);
    pthread_attr_t huge;
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, std::size_t{1} << 47);
    pthread_setattr_default_np(&huge);
    pthread_attr_destroy(&huge);
  }
  ~no_more_threads() { pthread_setattr_default_np(&before_); }
  no_more_threads(const no_more_threads&) = delete;

 private:
  pthread_attr_t before_;
};

/// The exit status of a forked child that makes this call; 99 where it throws, a signal where it hangs.
template <class Call>
int status_of_child(Call&& call) {
  const auto child = ::fork();
  if (child == 0) {
    ::alarm(60);
    try {
      ::_exit(call());
    } catch (...) {
      ::_exit(99);
    }
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

}  // namespace

TEST_CASE("an engine of which the threads cannot be made is refused, and can be made later") {
  engine_ears ears;
  {
    no_more_threads now;
    auto f = failure_of([&] { engine{ears.options(2)}; });
    EXPECT(f.code == errc::core_unavailable);
    EXPECT(contains(f.text, "the engine needs 5 threads, but the system gave 0"));
  }
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(4)};
  {
    no_more_threads now;
    auto f = failure_of([&] { parallel.async_infer({counted({5, 3})}, {}, [](auto, auto) {}); });
    EXPECT(f.code == errc::core_unavailable);
    EXPECT(contains(f.text, "the engine's completion thread cannot be made"));
    // Whose handler has an executor of its own needs none.
    EXPECT(same(awaited_answer(parallel, counted({5, 3})), counted({5, 3}) + 1));
  }
  std::promise<response> promise;
  parallel.async_infer({counted({5, 3})}, {}, [&](std::exception_ptr, response r) { promise.set_value(std::move(r)); });
  auto future = promise.get_future();
  REQUIRE(ready(future));
  EXPECT(same(future.get().outputs.toTensor(), counted({5, 3}) + 1));
}

TEST_CASE("a model is not blamed where the system gives no thread to compare its programs on") {
  no_more_threads now;
  auto f = failure_of([] { trace(modules::plus_one(), {counted({4, 3})}); });
  EXPECT(f.code == errc::core_unavailable);
  EXPECT(contains(f.text, "the system gave none"));
}

TEST_CASE("what was moved from says so, and can be assigned to") {
  engine_ears ears;
  engine host{ears.options(1)};
  data_parallel parallel{host, plus_one(4)};
  auto moved = std::move(parallel);
  const auto refused = [](auto call) {
    auto f = failure_of(call);
    return f.code == errc::invalid_argument && contains(f.text, "was moved from");
  };
  EXPECT(refused([&] { parallel({counted({1, 3})}); }));
  EXPECT(refused([&] { parallel.submit({counted({1, 3})}, {}); }));
  EXPECT(refused([&] { parallel.num_workers(3); }));
  EXPECT(refused([&] { parallel.warnings(); }));
  EXPECT(refused([&] { awaited_answer(parallel, counted({1, 3})); }));
  EXPECT(refused([&] { await_ready(parallel); }));
  parallel = std::move(moved);
  EXPECT(same(answer(parallel, {counted({5, 3})}), counted({5, 3}) + 1));

  engine other = std::move(host);
  EXPECT(refused([&] { host.core_count(); }));
  EXPECT(refused([&] { host.status(); }));
  EXPECT(refused([&] { host.drain(1ms); }));
  EXPECT(refused([&] { data_parallel{host, plus_one(4)}; }));
  EXPECT(same(answer(parallel, {counted({5, 3})}), counted({5, 3}) + 1));
}

TEST_CASE("bounds of the most that there is are waited for, not overrun") {
  std::future<c10::IValue> drained_answer, ended_answer;
  std::optional<forward_gate> gate;
  auto options = engine_ears{}.options(1);
  options.shutdown_bound = std::chrono::milliseconds::max();
  std::optional<engine> draining{options}, ending{options};
  data_parallel a{*draining, compiled(gated_plus_one(), {at::ones({1, 3})})}, b{*ending, a.model()};
  gate.emplace();
  drained_answer = a.submit({counted({1, 3})});
  ended_answer = b.submit({counted({1, 3})});
  REQUIRE(gate->wait_for(2));
  auto drained = std::async(std::launch::async, [&] { return draining->drain(std::chrono::milliseconds::max()); });
  auto ended = std::async(std::launch::async, [&] { ending.reset(); });
  EXPECT(drained.wait_for(50ms) == std::future_status::timeout);
  EXPECT(ended.wait_for(50ms) == std::future_status::timeout);
  gate.reset();
  REQUIRE(ready(drained));
  EXPECT(drained.get());
  REQUIRE(ready(ended));
  EXPECT(failure_of_future(std::move(drained_answer)).code == errc::ok);
  EXPECT(failure_of_future(std::move(ended_answer)).code == errc::ok);
  EXPECT(draining->drain(std::chrono::milliseconds::min()));
}

TEST_CASE("a callback that throws harms no request but its own, and none may be empty") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(4)};
  std::atomic<int> called{0};
  auto throws = [&called](response&&) {
    ++called;
    throw std::runtime_error("mine");
  };
  std::stop_source stop;
  request_options options;
  options.stop = stop.get_token();
  for (int i = 0; i < 50; ++i) parallel.start({counted({3, 3})}, i % 2 == 0 ? options : request_options{}, throws);
  stop.request_stop();
  EXPECT(same(answer(parallel, {counted({5, 3})}), counted({5, 3}) + 1));
  EXPECT(at_rest(host));
  EXPECT(called == 50);
  EXPECT(ears.wait_for_sentence("mine") == "the callback of a request threw: mine");
  for (const auto& core : host.status().cores) EXPECT(core.restarts == 0);
  EXPECT(failure_of([&] { parallel.start({counted({3, 3})}, {}, nullptr); }).code == errc::invalid_argument);
}

TEST_CASE("in a forked child an engine and what is on it are refused, can be destroyed, and another one works") {
  engine_ears ears;
  std::optional<engine> host{ears.options(2)};
  const auto model = plus_one(4);
  std::optional<data_parallel> parallel{std::in_place, *host, model};
  const auto x = counted({5, 3});
  answer(*parallel, {x});
  auto refused = [](auto call) { return failure_of(call).code == errc::core_unavailable; };
  EXPECT(status_of_child([&] {
           if (!refused([&] { (*parallel)({x}); })) return 1;
           if (!refused([&] { parallel->submit({x}, {}); })) return 2;
           if (!refused([&] { parallel->num_workers(1); })) return 3;
           if (!refused([&] { host->status(); })) return 4;
           if (!refused([&] { host->drain(1s); })) return 5;
           if (!refused([&] { data_parallel{*host, model}; })) return 6;
           if (!refused([&] { awaited_answer(*parallel, x); })) return 7;
           parallel.reset();
           host.reset();
           host.emplace(engine_ears{}.options(2));
           parallel.emplace(*host, model);
           return same(answer(*parallel, {x}), x + 1) ? 0 : 7;
         }) == 0);
  EXPECT(same(answer(*parallel, {x}), x + 1));  // in the parent nothing has changed
}

TEST_CASE("an engine may be ended inside of its own callbacks, on whichever thread they come") {
  for (const bool on_lane : {true, false}) {
    engine_ears ears;
    auto host = std::make_unique<engine>(ears.options(2));
    auto parallel = std::make_unique<data_parallel>(*host, plus_one(4));
    auto other = parallel->submit({counted({300, 3})});
    std::promise<void> ended;
    auto end = [&] {
      parallel.reset();
      host.reset();
      ended.set_value();
    };
    if (on_lane)
      parallel->start({counted({30, 3})}, {}, [&](response&&) { end(); });
    else
      parallel->async_infer({counted({30, 3})}, {}, [&](std::exception_ptr, response) { end(); });
    auto done = ended.get_future();
    REQUIRE(ready(done));
    EXPECT(failure_of_future(std::move(other)).code == errc::ok);
  }
}

TEST_CASE("the last that holds an ended engine may be let go of on one of its threads") {
  engine_ears ears;
  std::optional<engine> host{ears.options(1)};
  auto parallel = std::make_unique<data_parallel>(*host, compiled(gated_plus_one(), {at::ones({1, 3})}));
  std::promise<void> gone;
  forward_gate gate;
  parallel->start({counted({1, 3})}, {}, [&](response&&) {
    parallel.reset();
    gone.set_value();
  });
  REQUIRE(gate.wait_for(1));
  auto ended = std::async(std::launch::async, [&] { host.reset(); });
  gate.open();
  auto done = gone.get_future();
  REQUIRE(ready(done));
  REQUIRE(ready(ended));
}

// What becomes of coroutines, and of work on the completion thread, where somebody does not wait for them.
#include "gated_engine.hpp"

#include <ganglion/actors/batcher/credits.hpp>
#include <ganglion/engine/async_infer.hpp>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <coroutine>
#include <thread>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

/// A coroutine that its owner destroys.
struct owned_coroutine {
  struct promise_type {
    owned_coroutine get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

}  // namespace

TEST_CASE("a coroutine that is destroyed while it waits is never resumed, and its answer goes nowhere") {
  gated_engine e;
  bool went_on = false;
  const std::vector<c10::IValue> inputs{counted({2, 3})};
  {
    forward_gate gate;
    auto work = [&]() -> owned_coroutine {
      co_await e.parallel.infer(inputs);
      went_on = true;
    };
    auto waiting = work();
    REQUIRE(gate.wait_for(1));
    waiting.handle.destroy();
  }
  EXPECT(same(answer(e.parallel, inputs), counted({2, 3}) + 1));
  std::promise<void> looked;
  boost::asio::post(completion_executor(e.parallel), [&] { looked.set_value(); });
  EXPECT(ready(looked.get_future()));
  EXPECT_FALSE(went_on);
}

TEST_CASE("a coroutine that is destroyed while its rows wait takes them back, and so does its own token") {
  gated_engine e;
  const std::vector<c10::IValue> inputs{counted({40, 3})};
  const auto executions = [&] {
    while (e.host.status().models.front().executions_in_flight > 0) std::this_thread::yield();
    return e.host.status().cores.front().executions;
  };
  std::stop_source stop;
  request_options with_token;
  with_token.stop = stop.get_token();
  {
    forward_gate gate;
    auto held = e.parallel.submit(inputs);  // keeps the core busy
    REQUIRE(gate.wait_for(1));
    std::promise<errc> ended;
    auto work = [&](const request_options& options) -> owned_coroutine {
      auto code = errc::ok;
      try {
        co_await e.parallel.infer(inputs, options);
      } catch (const error& failed) {
        code = failed.failure().code;
      }
      ended.set_value(code);
    };
    const request_options none;
    auto destroyed = work(none);
    destroyed.handle.destroy();
    auto stopped = work(with_token);
    stop.request_stop();
    auto code = ended.get_future();
    REQUIRE(ready(code));
    EXPECT(code.get() == errc::cancelled);
    std::promise<void> suspended;  // at its end, on the completion thread
    boost::asio::post(completion_executor(e.parallel), [&] { suspended.set_value(); });
    REQUIRE(ready(suspended.get_future()));
    stopped.handle.destroy();
    gate.open();
    held.get();
  }
  REQUIRE(at_rest(e.host));
  const auto of_the_first = executions();
  answer(e.parallel, inputs);
  REQUIRE(at_rest(e.host));
  EXPECT(executions() == 2 * of_the_first);
}

TEST_CASE("whoever is ahead of the completion thread by more handlers than rows may wait is refused there") {
  engine_ears ears;
  auto options = ears.options(1);
  options.max_queued_rows = 8;
  engine host{options};
  data_parallel parallel{host, plus_one()};
  const auto most_in_flight = static_cast<int>(credit_config{}.most_executions);  // of a row each
  std::promise<void> go_on;
  boost::asio::post(completion_executor(parallel), [&] { go_on.get_future().wait(); });
  std::atomic<int> called{0};
  int begun = 0;
  const auto failed = failure_of([&] {
    for (; begun < 10'000; ++begun)  // answered or refused at once, and its handler waits
      parallel.async_infer({counted({1, 3})}, {}, [&](std::exception_ptr, const response&) { ++called; });
  });
  EXPECT(failed.code == errc::queue_full);
  EXPECT(contains(failed.text, " handlers wait for the engine's completion thread, and no more than 4096"));
  EXPECT(begun >= 4'096);
  EXPECT(begun <= 4'096 + 8 + most_in_flight);  // these are not answered when one more is let in
  REQUIRE(at_rest(host));
  const auto refused = [&host] {
    return host.status().models.at(0).outcomes.at(static_cast<std::size_t>(errc::queue_full));
  };
  const auto before = refused();
  EXPECT(failure_of([&] { parallel.poster(); }).code == errc::queue_full);
  EXPECT(refused() == before + 1);
  // Who has an executor of its own is none of these.
  boost::asio::io_context own;
  std::promise<void> on_own;
  auto there = boost::asio::bind_executor(own, [&](std::exception_ptr, const response&) { on_own.set_value(); });
  parallel.async_infer({counted({1, 3})}, {}, std::move(there));
  own.run();
  EXPECT(ready(on_own.get_future()));
  go_on.set_value();
  while (called < begun) std::this_thread::yield();
  parallel.async_infer({counted({1, 3})}, {}, [&](std::exception_ptr, const response&) { ++called; });
  while (called <= begun) std::this_thread::yield();
}

TEST_CASE("the end of an engine does not wait for work of others on its completion thread for longer than it may") {
  engine_ears ears;
  auto options = ears.options(1);
  options.shutdown_bound = 100ms;
  bool called = false;
  const auto began = std::chrono::steady_clock::now();
  {
    engine host{options};
    data_parallel parallel{host, plus_one()};
    auto timer = std::make_shared<boost::asio::steady_timer>(completion_executor(parallel), 1h);
    timer->async_wait([&called, timer](auto) { called = true; });
  }
  EXPECT(std::chrono::steady_clock::now() - began < 1min);
  EXPECT_FALSE(called);
  EXPECT(contains(ears.wait_for_sentence("completion thread"), "was not over 1000 ms after the engine's end"));
}

TEST_CASE("the end of an engine does not wait for a handler that blocks its completion thread") {
  static auto* const never = new std::promise<void>;  // the thread outlives the test
  engine_ears ears;
  auto options = ears.options(1);
  options.shutdown_bound = 100ms;
  std::promise<void> begun;
  {
    engine host{options};
    data_parallel parallel{host, plus_one()};
    boost::asio::post(completion_executor(parallel), [&begun] {
      begun.set_value();
      never->get_future().wait();
    });
    REQUIRE(ready(begun.get_future()));
  }
  EXPECT(contains(ears.wait_for_sentence("completion thread"), "what is left of it is dropped"));
}

TEST_CASE("a coroutine whose answer comes when its engine is gone goes on nevertheless") {
  std::function<void(std::function<void()>)> resume;
  {
    gated_engine e;
    resume = e.parallel.poster();
  }
  std::promise<std::thread::id> went_on;
  resume([&] { went_on.set_value(std::this_thread::get_id()); });
  auto where = went_on.get_future();
  REQUIRE(ready(where));
  EXPECT(where.get() != std::this_thread::get_id());
}

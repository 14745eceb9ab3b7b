// The asynchronous face: Asio's completion tokens, and coroutines without Asio.
#include "gated_engine.hpp"

#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <ganglion/engine/async_infer.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <cstring>
#include <memory>
#include <vector>

#include <pthread.h>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace modules = test_modules;

namespace {

std::string thread_name() {
  char name[16] = {};
  pthread_getname_np(pthread_self(), name, sizeof name);
  return name;
}

errc code_of(const std::exception_ptr& e) {
  if (!e) return errc::ok;
  try {
    std::rethrow_exception(e);
  } catch (const error& failed) {
    return failed.failure().code;
  }
}

struct async_fixture {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, compiled(modules::plus_one(), {at::ones({4, 3})})};
};

/// Memory that is marked when it is freed, and freed at last with the object: who writes to it in between is seen.
class marked_memory {
 public:
  template <class T>
  struct allocator {
    using value_type = T;
    marked_memory* from;

    explicit allocator(marked_memory& memory) : from(&memory) {}
    template <class U>
    allocator(const allocator<U>& other) : from(other.from) {}
    T* allocate(std::size_t n) { return static_cast<T*>(from->take(n * sizeof(T))); }
    void deallocate(T* p, std::size_t n) { from->give_back(p, n * sizeof(T)); }
    friend bool operator==(const allocator&, const allocator&) = default;
  };

  std::size_t taken() const { return blocks_.size(); }
  bool untouched_since() const {
    for (const auto& b : freed_)
      if (std::any_of(b.first, b.first + b.second, [](unsigned char c) { return c != mark; })) return false;
    return freed_.size() == blocks_.size();
  }

 private:
  static constexpr unsigned char mark = 0x6b;

  void* take(std::size_t size) {
    blocks_.push_back(std::make_unique<std::max_align_t[]>(size / sizeof(std::max_align_t) + 1));
    return blocks_.back().get();
  }
  void give_back(void* p, std::size_t size) {
    std::memset(p, mark, size);
    freed_.emplace_back(static_cast<unsigned char*>(p), size);
  }

  std::vector<std::unique_ptr<std::max_align_t[]>> blocks_;
  std::vector<std::pair<unsigned char*, std::size_t>> freed_;
};

/// A coroutine that nobody waits for.
struct fire_and_forget {
  struct promise_type {
    fire_and_forget get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

}  // namespace

TEST_CASE("a callback is called once on its executor, never inside of the call, and its executor has work until then") {
  async_fixture f;
  asio::io_context context;
  int called = 0;
  for (std::int64_t rows : {1, 9, 0})
    f.parallel.async_infer({counted({rows, 3})}, {},
                           asio::bind_executor(context, [&, rows](std::exception_ptr e, response r) {
                             ++called;
                             EXPECT_FALSE(e);
                             EXPECT(r.ok());
                             EXPECT(same(r.outputs.toTensor(), counted({rows, 3}) + 1));
                           }));
  f.parallel.async_infer({counted({1, 99})}, {}, asio::bind_executor(context, [&](std::exception_ptr e, response r) {
                           ++called;
                           EXPECT(code_of(e) == errc::shape_mismatch);
                           EXPECT(r.code() == errc::shape_mismatch);
                           EXPECT(contains(r.text(), "99"));
                         }));
  EXPECT(called == 0);
  context.run();
  EXPECT(called == 4);
}

TEST_CASE("when a handler is called its executor is left alone: what is behind it can be used again, or destroyed") {
  async_fixture f;
  std::optional<asio::io_context> context{std::in_place};
  for (int round = 0; round < 3'000; ++round) {
    if (round % 2 == 0) context.emplace();
    bool called = false;
    f.parallel.async_infer({counted({2, 3})}, {},
                           asio::bind_executor(*context, [&](std::exception_ptr, const response&) { called = true; }));
    while (!called && context->run_one() > 0) {
    }
    REQUIRE(called);
    context->restart();
  }
}

TEST_CASE(
    "a handler without an executor is called on the engine's completion thread, and what it throws harms nobody") {
  async_fixture f;
  std::promise<std::string> name;
  f.parallel.async_infer({counted({1, 3})}, {}, [&](std::exception_ptr, response) { name.set_value(thread_name()); });
  auto named = name.get_future();
  REQUIRE(ready(named));
  EXPECT(named.get() == "ganglion-done");
  f.parallel.async_infer({counted({1, 3})}, {},
                         [](std::exception_ptr, response) { throw std::runtime_error("a bad handler"); });
  EXPECT(contains(f.ears.wait_for_sentence("a bad handler"), "a completion handler threw"));
  EXPECT(same(answer(f.parallel, {counted({5, 3})}), counted({5, 3}) + 1));
  for (const auto& core : f.host.status().cores) EXPECT(core.restarts == 0);
}

TEST_CASE("a handler that throws leaves the memory alone that its operation had from its allocator") {
  marked_memory memory;
  {
    async_fixture f;
    auto handler = [](std::exception_ptr, response) { throw std::runtime_error("a bad handler"); };
    f.parallel.async_infer({counted({1, 3})}, {},
                           asio::bind_allocator(marked_memory::allocator<int>(memory), handler));
    EXPECT(contains(f.ears.wait_for_sentence("a bad handler"), "threw"));
  }
  EXPECT(memory.taken() > 0);
  EXPECT(memory.untouched_since());
}

TEST_CASE("a handler may call the engine again, and wait for it") {
  async_fixture f;
  std::promise<at::Tensor> done;
  f.parallel.async_infer({counted({1, 3})}, {}, [&](std::exception_ptr, response r) {
    done.set_value(answer(f.parallel, {r.outputs.toTensor()}));
  });
  auto result = done.get_future();
  REQUIRE(ready(result));
  EXPECT(same(result.get(), counted({1, 3}) + 2));
}

TEST_CASE("use_future holds the response, or throws the engine's error") {
  async_fixture f;
  auto good = f.parallel.async_infer({counted({3, 3})}, {}, asio::use_future);
  auto bad = f.parallel.async_infer({counted({3, 4})}, {}, asio::use_future);
  EXPECT(same(good.get().outputs.toTensor(), counted({3, 3}) + 1));
  EXPECT(failure_of_future(std::move(bad)).code == errc::shape_mismatch);
}

TEST_CASE("coroutines of Asio await it, also as a tuple and deferred") {
  async_fixture f;
  asio::io_context context;
  int done = 0;
  // Names instead of braces: g++ 12 destroys a braced temporary inside of co_await twice.
  const request_options plain;
  const std::vector<c10::IValue> two_rows{counted({2, 3})}, seven_rows{counted({7, 3})}, rows_of_four{counted({2, 4})};
  auto work = [&]() -> asio::awaitable<void> {
    auto r = co_await f.parallel.async_infer(two_rows, plain, asio::use_awaitable);
    EXPECT(same(r.outputs.toTensor(), counted({2, 3}) + 1));
    auto tuple = co_await f.parallel.async_infer(rows_of_four, plain, asio::as_tuple(asio::use_awaitable));
    EXPECT(code_of(std::get<0>(tuple)) == errc::shape_mismatch);
    EXPECT_FALSE(std::get<1>(tuple).ok());
    auto later = f.parallel.async_infer(seven_rows, plain, asio::deferred);
    auto deferred = co_await std::move(later)(asio::use_awaitable);
    EXPECT(same(deferred.outputs.toTensor(), counted({7, 3}) + 1));
    bool threw = false;
    try {
      co_await f.parallel.async_infer(rows_of_four, plain, asio::use_awaitable);
    } catch (const error& failed) {
      threw = failed.failure().code == errc::shape_mismatch;
    }
    EXPECT(threw);
    ++done;
  };
  for (int i = 0; i < 3; ++i) asio::co_spawn(context, work, asio::detached);
  context.run();
  EXPECT(done == 3);
}

TEST_CASE("its cancellation slot takes a request back, and so does the stop token beside it") {
  for (bool by_slot : {true, false}) {
    engine_ears ears;
    engine host{ears.options(1)};
    data_parallel parallel{host, compiled(gated_plus_one(), {at::ones({1, 3})})};
    asio::io_context context;
    asio::cancellation_signal signal;
    request_options options;
    std::stop_source source;
    options.stop = source.get_token();
    errc code = errc::ok;
    forward_gate gate;
    parallel.async_infer(
        {counted({1, 3})}, options,
        asio::bind_cancellation_slot(
            signal.slot(), asio::bind_executor(context, [&](std::exception_ptr e, response) { code = code_of(e); })));
    REQUIRE(gate.wait_for(1));
    if (by_slot)
      signal.emit(asio::cancellation_type::terminal);
    else
      source.request_stop();
    context.run();
    EXPECT(code == errc::cancelled);
    gate.open();
    EXPECT(at_rest(host));
    signal.emit(asio::cancellation_type::terminal);  // answered: nothing is left of it
  }
}

TEST_CASE("its cancellation slot takes back what waits, and the rest of what runs in part") {
  gated_engine g;
  asio::io_context context;
  asio::cancellation_signal partly, waits;
  int cancelled = 0;
  auto send = [&](std::int64_t rows, asio::cancellation_signal& signal) {
    g.parallel.async_infer({counted({rows, 3})}, {},
                           asio::bind_cancellation_slot(
                               signal.slot(), asio::bind_executor(context, [&](std::exception_ptr e, response) {
                                 cancelled += code_of(e) == errc::cancelled;
                               })));
  };
  {
    forward_gate gate;
    send(8 * 20, partly);
    REQUIRE(gate.wait_for(1));
    send(8 * 20, waits);
    partly.emit(asio::cancellation_type::terminal);
    waits.emit(asio::cancellation_type::terminal);
    context.run();
    EXPECT(cancelled == 2);
  }
  REQUIRE(at_rest(g.host));
  EXPECT(g.ears.executions().size() <= 3);  // what ran, and what had gone to the core
}

TEST_CASE("a cancellation slot that is never used leaves the answer alone") {
  async_fixture f;
  asio::io_context context;
  asio::cancellation_signal signal;
  bool called = false;
  f.parallel.async_infer(
      {counted({1, 3})}, {},
      asio::bind_cancellation_slot(signal.slot(),
                                   asio::bind_executor(context, [&](std::exception_ptr e, response) { called = !e; })));
  context.run();
  EXPECT(called);
  EXPECT_FALSE(signal.slot().has_handler());
}

TEST_CASE("a coroutine without Asio awaits it, and goes on on the engine's completion thread") {
  async_fixture f;
  std::promise<std::string> done;
  const std::vector<c10::IValue> good{counted({6, 3})}, bad{counted({6, 4})};
  auto work = [&]() -> fire_and_forget {
    auto r = co_await f.parallel.infer(good);
    EXPECT(same(r.outputs.toTensor(), counted({6, 3}) + 1));
    auto name = thread_name();
    bool threw = false;
    try {
      co_await f.parallel.infer(bad);
    } catch (const error& failed) {
      threw = failed.failure().code == errc::shape_mismatch;
    }
    EXPECT(threw);
    done.set_value(name);
  };
  work();
  auto name = done.get_future();
  REQUIRE(ready(name));
  EXPECT(name.get() == "ganglion-done");
}

TEST_CASE("coroutines without Asio that are open when their engine ends go on: answered, or with draining") {
  std::atomic<int> over{0};
  {
    async_fixture f;
    const std::vector<c10::IValue> inputs{counted({1, 3})};
    auto work = [&]() -> fire_and_forget {
      try {
        co_await f.parallel.infer(inputs);
      } catch (const error& e) {
        EXPECT(e.code() == errc::draining);
      }
      ++over;
    };
    for (int i = 0; i < 500; ++i) work();
  }
  EXPECT(over == 500);
}

TEST_CASE("operations that are open when their engine ends are completed: answered, or with draining") {
  std::atomic<int> completed{0};
  {
    async_fixture f;
    for (int i = 0; i < 500; ++i)
      f.parallel.async_infer({counted({1, 3})}, {}, [&](std::exception_ptr, response) { ++completed; });
  }
  EXPECT(completed == 500);
}

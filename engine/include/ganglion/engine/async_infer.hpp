#pragma once

#include <ganglion/engine/data_parallel.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <type_traits>

namespace ganglion {

/// The engine's completion thread (`ganglion-done`) as an executor: where handlers without an executor of their own are
/// called. Valid for as long as the engine or one of its data_parallels lives.
boost::asio::any_io_executor completion_executor(const data_parallel& of);

namespace detail {

/// The same by its own type, since handlers without an executor need no erased one, with what waits for it.
struct completion_thread {
  using executor_type = boost::asio::io_context::executor_type;

  executor_type executor;
  std::atomic<std::int64_t>* waiting;  ///< handlers that are posted and not yet called

  /// The thread need not be there yet. Errors, thrown: `invalid_argument` where the object was moved from,
  /// `core_unavailable` in a forked child.
  static completion_thread of(const data_parallel& parallel);
  /// Makes the thread. Errors: `core_unavailable`, thrown, where it cannot be made.
  static void start(const data_parallel& parallel);
  /// The same. Errors: also `queue_full` where as many handlers wait as rows may (`engine_options::max_queued_rows`),
  /// 4,096 at least.
  static void require_room(const data_parallel& parallel);
};

/// An operation on its way to a handler of Asio's, and what it comes to: a response, or a failure alone.
template <class Handler, class Result>
struct asio_operation {
  using executor_type = boost::asio::associated_executor_t<Handler, completion_thread::executor_type>;
  using work_type = std::decay_t<decltype(boost::asio::prefer(
      std::declval<executor_type>(), boost::asio::execution::outstanding_work.tracked))>;
  using slot_type = boost::asio::associated_cancellation_slot_t<Handler>;

  asio_operation(Handler h, const executor_type& executor)
      : handler(std::move(h)),
        work(boost::asio::prefer(executor, boost::asio::execution::outstanding_work.tracked)),
        slot(boost::asio::get_associated_cancellation_slot(handler)) {}

  Handler handler;
  work_type work;
  slot_type slot;
  /// Counts the handler while it waits for the completion thread; null where it goes elsewhere.
  std::atomic<std::int64_t>* waiting = nullptr;
  /// The stop token that the caller gave, where both ways to cancel are used.
  std::optional<std::stop_callback<std::function<void()>>> other;
  Result result;
  /// Whether whoever posted the handler has let go of the executor. Not before is the handler called, in which its
  /// owner may destroy what stands behind it.
  std::atomic<bool> handed_over{false};
};

inline std::exception_ptr exception_of(const failure& f) {
  return f.code == errc::ok ? std::exception_ptr{} : std::make_exception_ptr(error(f));
}

template <class Handler>
void call(Handler&& handler, response&& result) {
  auto failed = exception_of(result.error);
  std::move(handler)(std::move(failed), std::move(result));
}

template <class Handler>
void call(Handler&& handler, failure&& result) {
  std::move(handler)(exception_of(result));
}

/// What an executor runs when there is a result.
template <class Handler, class Result>
struct completion {
  std::shared_ptr<asio_operation<Handler, Result>> op;

  // Of a handler that always throws g++ 12 concludes (-fipa-modref) that this changes nothing, and lets `op` go once
  // more.
#if defined(__GNUC__) && !defined(__clang__)
  [[gnu::noipa]]
#endif
  void operator()() {
    while (!op->handed_over.load(std::memory_order_acquire)) std::this_thread::yield();
    if (op->waiting != nullptr) --*op->waiting;
    if (op->slot.is_connected()) op->slot.clear();
    op->other.reset();
    auto handler = std::move(op->handler);
    auto result = std::move(op->result);
    auto work = std::move(op->work);
    op.reset();  // its memory is the handler's to use again
    call(std::move(handler), std::move(result));
  }
};

template <class Handler, class Result>
void complete(std::shared_ptr<asio_operation<Handler, Result>> op) {
  auto& handed_over = op->handed_over;
  if (op->waiting != nullptr) ++*op->waiting;
  {
    auto executor = op->work;
    auto allocator = boost::asio::get_associated_allocator(op->handler);
    boost::asio::post(executor, boost::asio::bind_allocator(allocator, completion<Handler, Result>{std::move(op)}));
  }
  handed_over.store(true, std::memory_order_release);  // the last that this thread does with it
}

/// Calls `begin` with the stop token to heed, and with what to call with the result.
template <class Result, class Handler, class Begin>
void launch(const data_parallel& on, Handler handler, std::stop_token stop, Begin begin) {
  const auto own = completion_thread::of(on);
  auto executor = boost::asio::get_associated_executor(handler, own.executor);
  std::atomic<std::int64_t>* waiting = nullptr;
  if constexpr (std::is_same_v<decltype(executor), completion_thread::executor_type>)
    if (executor == own.executor) {
      completion_thread::require_room(on);
      waiting = own.waiting;
    }
  auto allocator = boost::asio::get_associated_allocator(handler);
  auto op = std::allocate_shared<asio_operation<Handler, Result>>(allocator, std::move(handler), executor);
  op->waiting = waiting;
  if (op->slot.is_connected()) {
    std::stop_source source;
    op->slot.assign([source](boost::asio::cancellation_type type) mutable {
      if (type != boost::asio::cancellation_type::none) source.request_stop();
    });
    if (stop.stop_possible()) op->other.emplace(stop, [source]() mutable { source.request_stop(); });
    stop = source.get_token();
  }
  begin(std::move(stop), [op = std::move(op)](Result&& result) mutable {
    op->result = std::move(result);
    complete(std::move(op));
  });
}

}  // namespace detail

/// Runs forward(inputs...) data-parallel and completes with the answer. Never inline: the handler is posted to its
/// associated executor, with its associated allocator, or else called on the engine's completion thread; until then its
/// executor has outstanding work. Its cancellation slot takes the request back, as the stop token of the options does.
/// What it throws goes to whoever runs its executor (on the completion thread: to the log), never to a core.
/// Throws `queue_full` where the handler names no executor and as many of that kind as `max_queued_rows`, 4,096 at
/// least, wait for the completion thread: they take longer than the requests. Give them an executor, or make them
/// shorter.
/// The object must live until the operation was started; the answer may come after it is gone.
/// In a coroutine give inputs and options by name: g++ 12 destroys braced temporaries inside of `co_await` twice.
template <class CompletionToken>
auto data_parallel::async_infer(std::vector<c10::IValue> inputs, request_options options, CompletionToken&& token) {
  // A coroutine's initiation must not throw: what can be known is told before.
  static_cast<void>(detail::completion_thread::of(*this));
  return boost::asio::async_initiate<CompletionToken, void(std::exception_ptr, response)>(
      [this](auto handler, std::vector<c10::IValue> given, request_options with) {
        detail::launch<response>(*this, std::move(handler), with.stop, [&](std::stop_token stop, auto done) {
          with.stop = std::move(stop);
          start(std::move(given), std::move(with), std::move(done));
        });
      },
      token, std::move(inputs), std::move(options));
}

/// Completes when all cores have the model, or it could not be loaded; by the same rules as `async_infer`. Its
/// cancellation slot ends the wait with `cancelled`, and not the loading.
template <class CompletionToken>
auto data_parallel::async_ready(CompletionToken&& token) const {
  static_cast<void>(detail::completion_thread::of(*this));
  return boost::asio::async_initiate<CompletionToken, void(std::exception_ptr)>(
      [this](auto handler) {
        detail::launch<failure>(*this, std::move(handler), {}, [this](std::stop_token stop, auto done) {
          when_ready(std::move(done), std::move(stop));
        });
      },
      token);
}

}  // namespace ganglion

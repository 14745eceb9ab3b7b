#include "completions.hpp"

#include <ganglion/model_io/error.hpp>

#include <fmt/format.h>
#include <pthread.h>

#include <future>
#include <thread>

namespace ganglion {

namespace {

/// For a handler that is running when the rest is dropped.
constexpr std::chrono::milliseconds last_moments{100};

}  // namespace

/// Shared with its thread, which may outlive the object where a handler held the last reference to the engine.
struct completions::worker {
  boost::asio::io_context context{1};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> guard{context.get_executor()};
  std::thread thread;
  std::promise<void> ended;
  std::atomic<std::int64_t> waiting{0};
};

completions::completions(std::function<void(std::string_view)> log, std::chrono::milliseconds bound)
    : log_(std::move(log)), bound_(bound), worker_(std::make_shared<worker>()) {}

completions::~completions() {
  worker_->guard.reset();
  if (!worker_->thread.joinable()) return;
  if (worker_->thread.get_id() == std::this_thread::get_id())
    worker_->thread.detach();
  else if (is_over())
    worker_->thread.join();
  else
    worker_->thread.detach();
}

bool completions::is_over() {
  const auto ended = worker_->ended.get_future();
  const auto in_time = [&ended](std::chrono::milliseconds bound) {
    return ended.wait_for(bound) == std::future_status::ready;
  };
  if (in_time(bound_)) return true;
  log_(fmt::format("work on the completion thread was not over {} ms after the engine's end: what is left of it is "
                   "dropped",
                   bound_.count()));
  worker_->context.stop();
  return in_time(last_moments);
}

void completions::start() {
  std::call_once(started_, [this] {
    auto work = [w = worker_, log = log_] {
      pthread_setname_np(pthread_self(), "ganglion-done");
      for (;;) {
        try {
          while (w->context.run_one() > 0)
            // A thread that sleeps is woken for each answer, and an execution gives many: it looks again before.
            while (w->context.poll() > 0) std::this_thread::yield();
          return w->ended.set_value();
        } catch (const std::exception& e) {
          log(fmt::format("a completion handler threw: {}", e.what()));
        } catch (...) {
          log("a completion handler threw something that is no exception type of the standard");
        }
      }
    };
    try {
      worker_->thread = std::thread(std::move(work));  // the next call tries again where there is none
    } catch (const std::system_error& e) {
      throw error(errc::core_unavailable,
                  fmt::format("the engine's completion thread cannot be made ({}): raise the limit on processes "
                              "(ulimit -u)",
                              e.code().message()));
    }
  });
}

boost::asio::io_context::executor_type completions::executor() { return worker_->context.get_executor(); }

std::atomic<std::int64_t>& completions::waiting() { return worker_->waiting; }

}  // namespace ganglion

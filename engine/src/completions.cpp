#include "completions.hpp"

#include <ganglion/model_io/error.hpp>

#include <fmt/format.h>
#include <pthread.h>

#include <thread>

namespace ganglion {

/// Shared with its thread, which may outlive the object where a handler held the last reference to the engine.
struct completions::worker {
  boost::asio::io_context context{1};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> guard{context.get_executor()};
  std::thread thread;
};

completions::~completions() {
  if (!worker_) return;
  worker_->guard.reset();
  if (worker_->thread.get_id() == std::this_thread::get_id())
    worker_->thread.detach();
  else
    worker_->thread.join();
}

boost::asio::io_context::executor_type completions::executor() {
  std::call_once(started_, [this] {
    auto fresh = std::make_shared<worker>();
    auto work = [w = fresh, log = log_] {
      pthread_setname_np(pthread_self(), "ganglion-done");
      for (;;) {
        try {
          while (w->context.run_one() > 0)
            // A thread that sleeps is woken for each answer, and an execution gives many: it looks again before.
            while (w->context.poll() > 0) std::this_thread::yield();
          return;
        } catch (const std::exception& e) {
          log(fmt::format("a completion handler threw: {}", e.what()));
        } catch (...) {
          log("a completion handler threw something that is no exception type of the standard");
        }
      }
    };
    try {
      fresh->thread = std::thread(std::move(work));
    } catch (const std::system_error& e) {
      throw error(errc::core_unavailable,
                  fmt::format("the engine's completion thread cannot be made ({}): raise the limit on processes "
                              "(ulimit -u)",
                              e.code().message()));
    }
    worker_ = std::move(fresh);  // the next call tries again where there is none
  });
  return worker_->context.get_executor();
}

}  // namespace ganglion

#include "host.hpp"

#include "completions.hpp"
#include "lifetime.hpp"
#include "options_reader.hpp"
#include "parallel.hpp"

#include <ganglion/actors/core/cpu_lane.hpp>

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <iterator>
#include <mutex>
#include <string>
#include <utility>

namespace py = pybind11;

namespace ganglion::python {

namespace {

/// The engine logs on threads of its own, which must not wait for the GIL: what it said waits here for a
/// call.
class log_box {
 public:
  using entry = std::pair<log_level, std::string>;

  void put(log_level level, std::string_view sentence) {
    const std::lock_guard lock(mutex_);
    entries_.emplace_back(level, sentence);
    filled_ = true;
  }

  bool filled() const noexcept { return filled_.load(std::memory_order_acquire); }

  /// All, in their order; what is not for the caller is to be put back. Only who has the GIL takes.
  std::deque<entry> take() {
    const std::lock_guard lock(mutex_);
    filled_ = false;
    return std::exchange(entries_, {});
  }

  void put_back(std::deque<entry> rest) {
    const std::lock_guard lock(mutex_);
    entries_.insert(entries_.begin(), std::make_move_iterator(rest.begin()), std::make_move_iterator(rest.end()));
    filled_ = !entries_.empty();
  }

 private:
  std::mutex mutex_;
  std::atomic<bool> filled_{false};
  std::deque<entry> entries_;
};

log_box& box() {
  static auto* const only = new log_box;
  return *only;
}

std::mutex making;
engine_options wanted;
std::atomic<engine*> made_engine{nullptr};

}  // namespace

engine& host() {
  require_usable();
  if (auto* there = made_engine.load(std::memory_order_acquire)) return *there;
  const without_gil others_run;
  const std::lock_guard lock(making);
  if (!made_engine.load()) {
    auto options = wanted;
    options.shutdown_bound = end_bound;
    options.log = [](log_level level, std::string_view sentence) { box().put(level, sentence); };
    completions::process_wide();  // here and not in a fork before
    made_engine.store(new engine(std::move(options)), std::memory_order_release);
    engine_was_made();
  }
  return *made_engine.load();
}

void configure(const py::dict& given) {
  require_usable();
  engine_options options;
  const options_reader reader(given);
  reader.read("host_cores", options.host_cores);
  reader.read("threads_per_core", options.threads_per_core);
  reader.read("pin", options.pin);
  reader.read("cpus", options.cpus);
  reader.read("core_memory_bytes", options.core_memory_bytes);
  reader.read("max_queued_rows", options.max_queued_rows);
  reader.read("max_queued_bytes", options.max_queued_bytes);
  reader.read_seconds("idle_spin", options.idle_spin);
  reader.read_seconds("max_queue_time", options.max_queue_time);
  reader.read_seconds("max_execution_time", options.max_execution_time);
  reader.read_seconds("max_load_step_time", options.max_load_step_time);
  std::string trace_out;
  reader.read("trace_out", trace_out);
  options.trace_out = trace_out;
  const without_gil others_run;
  const std::lock_guard lock(making);
  if (made_engine.load())
    throw error(errc::invalid_argument,
                "the engine is there already: configure it before the first DataParallel and the first status()");
  wanted = std::move(options);
}

void watch_forks() {
  // Held over the fork, so that no child is born while an engine is half made.
  ::pthread_atfork([] { making.lock(); }, [] { making.unlock(); },
                   [] {
                     making.unlock();
                     if (made_engine.load()) engine_was_left_behind();
                   });
}

engine* made_host() noexcept { return made_engine.load(std::memory_order_acquire); }

void say_what_was_logged(const py::object& place, const parallel* own) {
  if (!box().filled()) return;
  const auto say = py::module_::import("torch_neuron._warnings").attr("say");
  for (;;) {
    auto entries = box().take();
    const auto next = std::find_if(entries.begin(), entries.end(), [own](const log_box::entry& e) {
      return e.first != log_level::warning || !parallel::is_anothers(e.second, own);
    });
    const auto found = next != entries.end();
    const auto said = found ? std::move(*next) : log_box::entry();
    if (found) entries.erase(next);
    box().put_back(std::move(entries));  // before it is said, which may raise
    if (!found) return;
    say(said.first == log_level::warning, said.second, place);
  }
}

void end_host() {
  auto* const there = made_host();
  if (!there) return;
  const without_gil others_run;
  there->shut_down();
  // An operator of a model that is written in Python is not to come back into an interpreter that has gone.
  wait_for_abandoned_lanes(end_bound);
}

}  // namespace ganglion::python

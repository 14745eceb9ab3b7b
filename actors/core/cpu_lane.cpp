#include <ganglion/actors/core/cpu_lane.hpp>

#include "model_loading.hpp"
#include "process_end.hpp"

#include <ganglion/model_io/replica.hpp>

#include <ATen/Parallel.h>
#include <cxxabi.h>
#include <fmt/format.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>
#include <variant>

namespace ganglion {

namespace {

thread_local bool is_engine_thread = false;

/// The threads that were left behind, counted for status and for whoever wants to end the process.
struct abandoned_registry {
  std::mutex mutex;
  std::condition_variable none;
  abandoned_threads threads;

  static abandoned_registry& instance() {
    static auto* const one = new abandoned_registry;  // outlives every thread that it counts
    return *one;
  }
};

struct unload_command {
  std::uint64_t model_id;
};

/// The next step of the oldest load: it queues again behind what came meanwhile, until the load is over.
struct load_step {};

using command = std::variant<execution_ptr, compiled_model, unload_command, load_step>;

/// What the thread and its lane share; the thread keeps it alive when the lane is gone.
class lane_thread : public std::enable_shared_from_this<lane_thread> {
 public:
  lane_thread(const lane_config& config, std::shared_ptr<lane_sink> sink) : config_(config), sink_(std::move(sink)) {}

  void push(command c) {
    std::lock_guard lock(mutex_);
    if (std::holds_alternative<execution_ptr>(c)) ++depth_;
    commands_.push_back(std::move(c));
    called_ = true;
    if (idle_) wake_.notify_one();
  }

  std::size_t depth() const {
    std::lock_guard lock(mutex_);
    return depth_;
  }

  /// Tells the thread to end. Returns whether it is idle and will end at once.
  bool stop() {
    std::deque<command> dropped;  // destroyed outside of the lock: a last reference answers its request
    std::lock_guard lock(mutex_);
    stopped_ = true;
    called_ = true;
    dropped.swap(commands_);
    sink_.reset();
    wake_.notify_one();
    return idle_;
  }

  std::optional<lane_activity> activity() const {
    std::lock_guard lock(mutex_);
    return activity_;
  }

  void leave_behind() {
    auto& all = abandoned_registry::instance();
    std::lock_guard lock(all.mutex);
    std::lock_guard own(mutex_);
    if (ended_) return;
    // What it still computes is for nobody: it must not take the CPUs from the lane that follows it.
    sched_param none{};
    for (auto thread : threads_) sched_setscheduler(thread, SCHED_IDLE, &none);
    keep_what_libraries_have();
    abandoned_bytes_ = model_bytes_ + held_input_bytes();
    ++all.threads.count;
    all.threads.bytes += *abandoned_bytes_;
  }

  void run() {
    working_.emplace();
    settle();
    command next;
    while (wait(next)) std::visit([this](auto& c) { perform(std::move(c)); }, next);
    next = {};
    loads_.clear();
    models_.clear();
    end();
  }

 private:
  void settle() {
    is_engine_thread = true;
    pthread_setname_np(pthread_self(), fmt::format("nc:{}", config_.core).c_str());
    if (!config_.cpus.empty()) {
      cpu_set_t set;
      CPU_ZERO(&set);
      for (auto cpu : config_.cpus) CPU_SET(cpu, &set);
      // Before the first parallel region, whose threads inherit it. Where it is not allowed, the lane runs unpinned.
      pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    // LibTorch sets the number of threads at the first look, for the calling thread; ours comes after it.
    at::get_num_threads();
    omp_set_num_threads(static_cast<int>(config_.threads));
    // They are made here, and stay the same until the thread ends.
#pragma omp parallel
    {
      std::lock_guard lock(mutex_);
      threads_.push_back(gettid());
    }
  }

  bool wait(command& next) {
    std::unique_lock lock(mutex_);
    activity_.reset();
    if (commands_.empty() && !stopped_) {
      idle_ = true;
      called_ = false;
      working_.reset();
      spin(lock);
      wake_.wait(lock, [this] { return stopped_ || !commands_.empty(); });
      working_.emplace();
      idle_ = false;
    }
    if (stopped_) return false;
    next = std::move(commands_.front());
    commands_.pop_front();
    auto* work = std::get_if<execution_ptr>(&next);
    activity_ = {clock::now(), work == nullptr};
    if (work != nullptr) held_.push_back(*work);
    return true;
  }

  /// To be woken takes longer than most of what a request takes on its way. Whoever else wants the CPU has it
  /// meanwhile.
  void spin(std::unique_lock<std::mutex>& lock) {
    if (config_.idle_spin.count() == 0) return;
    lock.unlock();
    for (const auto end = clock::now() + config_.idle_spin; !called_ && clock::now() < end;) std::this_thread::yield();
    lock.lock();
  }

  void perform(compiled_model&& model) {
    loads_.emplace_back(std::move(model));
    count_models();
    if (!step_queued_) step_load();
  }

  void perform(load_step&&) {
    step_queued_ = false;
    if (!loads_.empty()) step_load();
  }

  void perform(unload_command&& c) {
    models_.erase(c.model_id);
    // What was loaded before it, and is not over, is wanted no more.
    for (auto load = loads_.begin(); load != loads_.end();) {
      if (load->model().id() != c.model_id) {
        ++load;
        continue;
      }
      auto over = std::move(*load);
      load = loads_.erase(load);
      tell_loaded(over.model(), {}, failed_load(errc::cancelled, "the model was unloaded before it was loaded"));
    }
    count_models();
  }

  void perform(execution_ptr&& work) {
    reports_.push_back(report_of(std::move(work)));
    const auto& last = reports_.back();
    tell_finished(last.error.code != errc::ok || last.ended - reports_.front().ended > std::chrono::milliseconds(1));
  }

  /// The next step of the oldest load. Executions that wait come before the one after it.
  void step_load() {
    tell_finished(true);  // credits do not wait for it
    auto& load = loads_.front();
    bool more = false;
    failure error;
    try {
      more = load.step();
    } catch (const std::exception& e) {
      error = failed_load(errc::forward_failed, fmt::format("the model failed while it was warmed up on core nc:{}: {}",
                                                            config_.core, brief_message(e)));
    } catch (const abi::__forced_unwind&) {
      stay_until_the_process_ends();
    } catch (...) {
      error = failed_load(errc::forward_failed,
                          fmt::format("the model failed while it was warmed up on core nc:{}: it threw something that "
                                      "is no exception type of the standard",
                                      config_.core));
    }
    if (!more) {
      auto over = std::move(load);
      loads_.pop_front();
      bool made = error.code == errc::ok;
      static std::once_flag first;  // of the process: its forwards have run
      std::call_once(first, keep_what_libraries_have);
      if (made) models_.insert_or_assign(over.model().id(), over.take());
      count_models();
      tell_loaded(over.model(), made ? over.found() : warm_up{}, std::move(error));
    }
    step_queued_ = !loads_.empty();
    if (step_queued_) push(load_step{});
  }

  void count_models() {
    std::size_t bytes = 0;
    for (const auto& [id, m] : models_) bytes += m->weight_bytes;
    for (const auto& load : loads_) bytes += load.model().weight_bytes();
    std::lock_guard lock(mutex_);
    model_bytes_ = bytes;
  }

  failure failed_load(errc code, std::string text) const {
    return {code, std::move(text), -1, -1, static_cast<std::int32_t>(config_.core)};
  }

  void tell_loaded(const compiled_model& model, warm_up found, failure error) {
    if (auto sink = current_sink())
      sink->loaded({model.id(), std::move(error), model.weight_bytes(), std::move(found)});
  }

  /// Credits go back in bulk: half of what is out, or at once where the core might run dry or something is wrong.
  void tell_finished(bool at_once) {
    if (reports_.empty()) return;
    std::shared_ptr<lane_sink> sink;
    {
      std::lock_guard lock(mutex_);
      auto waiting = depth_ - reports_.size();
      if (!at_once && reports_.size() < waiting) return;
      depth_ -= reports_.size();
      held_.clear();
      sink = sink_;
    }
    auto reports = std::move(reports_);
    reports_.clear();
    if (sink) sink->finished(std::move(reports));
  }

  /// Of the requests that have rows in what was begun and not reported. The lock is held.
  std::size_t held_input_bytes() const {
    std::set<const request*> owners;
    for (const auto& work : held_)
      for (const auto& p : work->parts) owners.insert(p.owner.get());
    std::size_t bytes = 0;
    for (const auto* owner : owners) bytes += static_cast<std::size_t>(owner->rows() * owner->row_bytes());
    return bytes;
  }

  execution_report report_of(execution_ptr&& work) {
    auto core = static_cast<std::int32_t>(config_.core);
    if (auto found = models_.find(work->model_id); found != models_.end())
      return run_execution(std::move(work), found->second->program, found->second->buffers, core);
    auto now = clock::now();
    return {std::move(work), {errc::core_lost, fmt::format("core nc:{} no longer has the model", core), -1, -1, core},
            false, now, now, now};
  }

  std::shared_ptr<lane_sink> current_sink() {
    std::lock_guard lock(mutex_);
    return sink_;
  }

  void end() {
    auto& all = abandoned_registry::instance();
    std::lock_guard lock(all.mutex);
    std::lock_guard own(mutex_);
    ended_ = true;
    working_.reset();
    if (!abandoned_bytes_) return;
    all.threads.bytes -= *abandoned_bytes_;
    if (--all.threads.count == 0) all.none.notify_all();
  }

  const lane_config config_;
  // the thread's own
  std::optional<unfinished_work> working_;  // but for while it is idle
  std::unordered_map<std::uint64_t, std::unique_ptr<loaded_model>> models_;
  std::vector<execution_report> reports_;
  std::list<loading> loads_;  // in the order of `load`; the first is under way
  bool step_queued_ = false;   // one `load_step` for all of them
  // shared
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<command> commands_;
  std::atomic<bool> called_{false};  // while it is idle: there is something to do
  std::shared_ptr<lane_sink> sink_;
  std::size_t depth_ = 0;
  bool idle_ = false;
  bool stopped_ = false;
  std::optional<lane_activity> activity_;
  std::size_t model_bytes_ = 0;
  std::vector<execution_ptr> held_;  // begun, and not reported
  std::vector<pid_t> threads_;  // this one and its intra-op threads
  std::optional<std::size_t> abandoned_bytes_;  // once it was left behind
  bool ended_ = false;
};

class cpu_lane final : public lane {
 public:
  cpu_lane(const lane_config& config, std::shared_ptr<lane_sink> sink)
      : shared_(std::make_shared<lane_thread>(config, std::move(sink))),
        thread_([shared = shared_] { shared->run(); }) {}

  ~cpu_lane() override {
    // The last reference to a core may go on its own lane's thread, which cannot wait for itself.
    if (shared_->stop() && thread_.get_id() != std::this_thread::get_id()) {
      thread_.join();
    } else {
      shared_->leave_behind();
      thread_.detach();
    }
  }

  std::size_t depth() const noexcept override { return shared_->depth(); }
  std::optional<lane_activity> activity() const noexcept override { return shared_->activity(); }
  void load(compiled_model model) noexcept override { shared_->push(std::move(model)); }
  void unload(std::uint64_t model_id) noexcept override { shared_->push(unload_command{model_id}); }
  void start(execution_ptr work) noexcept override { shared_->push(std::move(work)); }

 private:
  std::shared_ptr<lane_thread> shared_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<lane> make_cpu_lane(const lane_config& config, std::shared_ptr<lane_sink> sink) {
  return std::make_unique<cpu_lane>(config, std::move(sink));
}

abandoned_threads abandoned_lanes() {
  auto& all = abandoned_registry::instance();
  std::lock_guard lock(all.mutex);
  return all.threads;
}

bool wait_for_abandoned_lanes(std::chrono::nanoseconds bound) {
  auto& all = abandoned_registry::instance();
  std::unique_lock lock(all.mutex);
  return all.none.wait_for(lock, bound, [&all] { return all.threads.count == 0; });
}

bool on_engine_thread() noexcept { return is_engine_thread; }

void mark_engine_thread() noexcept { is_engine_thread = true; }

}  // namespace ganglion

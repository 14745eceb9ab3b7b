#include <ganglion/engine/engine.hpp>

#include "engine_state.hpp"

#include <ganglion/actors/core/cpu_lane.hpp>
#include <ganglion/engine/cpu_allowance.hpp>

#include <caf/all.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <thread>

namespace ganglion {

namespace {

/// Marks the threads of the actor system as the engine's.
class thread_marker final : public caf::thread_hook {
 public:
  void init(caf::actor_system&) override {}
  void thread_started() override { mark_engine_thread(); }
  void thread_terminates() override {}
};

void log_to_stderr(log_level level, std::string_view sentence) {
  fmt::print(stderr, "ganglion: {}{}\n", level == log_level::warning ? "warning: " : "", sentence);
}

/// The CPUs that the engine may use, and how many of them at once.
cpu_allowance allowance_of(const engine_options& options) {
  auto allowance = read_cpu_allowance();
  allowance.cpus = choose_cpus(options.cpus, allowance.cpus).value();
  allowance.count = std::min(allowance.count, allowance.cpus.size());
  return allowance;
}

topology_request request_of(const engine_options& options, const cpu_allowance& allowance) {
  auto request = read_environment();
  request.host_cores = options.host_cores;
  request.usable_cpus = allowance.count;
  request.threads_per_core = options.threads_per_core;
  return request;
}

/// A callback of the embedding program of which nothing that it throws reaches an actor.
template <class... Args>
std::function<void(Args...)> guarded(std::function<void(Args...)> f) {
  return [f = std::move(f)](Args... args) {
    try {
      f(args...);
    } catch (...) {
    }
  };
}

engine_options with_guarded_log(engine_options options) {
  options.log = guarded(options.log ? options.log : log_to_stderr);
  return options;
}

/// Refuses an engine of which the threads cannot be made: CAF and OpenMP would end the process. `lanes` are those of
/// the cores.
void require_threads(std::size_t lanes) {
  constexpr std::size_t actors = 3;  // CAF's: the scheduler, the clock, the printer
  std::promise<void> made;
  auto all_made = made.get_future().share();
  std::vector<std::thread> threads;
  std::string problem;
  try {
    while (threads.size() < actors + lanes) threads.emplace_back([all_made] { all_made.wait(); });
  } catch (const std::system_error& e) {
    problem = e.code().message();
  }
  made.set_value();
  for (auto& t : threads) t.join();
  if (!problem.empty())
    throw error(errc::core_unavailable,
                fmt::format("the engine needs {} threads, but the system gave {} ({}): use fewer cores or threads a "
                            "core, or raise the limit on processes (ulimit -u)",
                            actors + lanes, threads.size(), problem));
}

execution_record record_of(const execution_report& report, std::size_t core) {
  const auto& work = *report.work;
  execution_record result{core, work.deployment_id, work.id, report.rows(), work.padding_rows(), report.forwards,
                          report.error.code != errc::ok, work.queued_rows, {}, work.enqueued, work.formed,
                          report.started, report.computed, report.ended};
  result.parts.reserve(work.parts.size());
  for (const auto& p : work.parts)
    result.parts.push_back({p.owner->id(), p.where->first_row(), p.where->rows(), p.owner->rows(), p.attempt,
                            p.owner->accepted()});
  return result;
}

/// Whether a lane began that part: it was not taken back while it waited there, and not since.
bool was_begun(const part& p) {
  return p.where->attempt() == p.attempt && (p.where->is_running() || p.where->is_settled());
}

/// For a timeline: of the parts those alone whose requests passed through the execution.
execution_record with_begun_parts(execution_record record, const execution& work) {
  std::vector<execution_part> begun;
  for (std::size_t i = 0; i < work.parts.size(); ++i)
    if (was_begun(work.parts[i])) begun.push_back(record.parts[i]);
  record.parts = std::move(begun);
  return record;
}

execution_observer observer_of(const engine_options& options, std::shared_ptr<trace_file> trace) {
  if (!options.on_execution && !trace) return {};
  return [told = options.on_execution ? guarded(options.on_execution) : nullptr, trace = std::move(trace)](
             const execution_report& report, std::size_t core) {
    if (!report.ran) return;
    auto record = record_of(report, core);
    if (told) told(record);
    if (trace) trace->add(with_begun_parts(std::move(record), *report.work));
  };
}

request_observer request_observer_of(std::shared_ptr<trace_file> trace) {
  if (!trace) return {};
  return [trace = std::move(trace)](const request_record& record) { trace->add(record); };
}

}  // namespace

void refuse_engine_thread(std::string_view what) {
  if (on_engine_thread())
    throw error(
        errc::invalid_argument,
        fmt::format("{} was called on one of the engine's own threads, which would wait for itself: use submit, or "
                    "call it from a thread of yours",
                    what));
}

namespace {

/// A clock cannot count much further: who says the most that there is wants to wait for ever.
std::chrono::milliseconds countable(std::chrono::milliseconds bound) {
  return std::clamp<std::chrono::milliseconds>(bound, {}, std::chrono::milliseconds(longest_ms));
}

std::chrono::nanoseconds idle_spin_of(const engine_options& options, std::size_t cores, const cpu_allowance& cpus) {
  constexpr std::chrono::nanoseconds most = std::chrono::seconds(1);
  if (options.idle_spin.count() < 0 || options.idle_spin > most)
    throw error(errc::invalid_argument, fmt::format("idle_spin is {} ns, but must be from 0 to {} ns, a second",
                                                    options.idle_spin.count(), most.count()));
  return cores * options.threads_per_core <= cpus.count ? options.idle_spin : std::chrono::nanoseconds(0);
}

std::chrono::milliseconds shutdown_bound_of(const engine_options& options) {
  if (options.shutdown_bound.count() < 0)
    throw error(errc::invalid_argument, fmt::format("shutdown_bound is {} ms, but must be at least 0",
                                                    options.shutdown_bound.count()));
  return countable(options.shutdown_bound);
}

/// What handlers have at least: an answer that has come is to reach whoever asked.
constexpr std::chrono::milliseconds least_for_handlers{1'000};

}  // namespace

engine::state::state(engine_options given)
    : options(with_guarded_log(std::move(given))),
      allowance(allowance_of(options)),
      reserved(reserve_cores(request_of(options, allowance), options.lock_directory.empty() ? default_lock_directory()
                                                                                            : options.lock_directory)
                   .value()),
      done([log = options.log](std::string_view sentence) { log(log_level::warning, sentence); },
           std::max(shutdown_bound_of(options), least_for_handlers)) {
  admission_limits limits{options.max_queued_rows, options.max_queued_bytes};
  validate(limits).value();
  std::vector<std::size_t> globals;
  for (const auto& c : reserved.topology.cores) globals.push_back(c.global);
  booking.emplace(globals, options.threads_per_core, allowance.cpus, read_numa_nodes());

  supervisor_config config;
  const auto spin = idle_spin_of(options, globals.size(), allowance);
  for (std::size_t i = 0; i < globals.size(); ++i)
    config.cores.push_back({i, options.threads_per_core, options.pin ? booking->plan()[i] : std::vector<int>{}, spin});
  config.make_lane = options.make_lane ? lane_factory{options.make_lane} : lane_factory{make_cpu_lane};
  config.batcher.max_queue_time = options.max_queue_time;
  validate(config.batcher).value();
  config.limits = {options.max_execution_time, options.max_load_step_time};
  validate(config.limits).value();
  config.core_memory_bytes = options.core_memory_bytes;
  if (!options.trace_out.empty()) {
    auto opened = trace_file::open(options.trace_out, globals.size(), [told = options.log](std::string_view sentence) {
      told(log_level::warning, sentence);
    });
    trace = std::move(opened).value();
    config.batcher.lost = [trace = trace](const execution_ptr& work, std::size_t core) {
      trace->add_lost(record_of({work, {}, true, work->formed, clock::now(), clock::now(), work->forwards}, core));
    };
  }
  config.log = [told = options.log](std::string_view sentence) { told(log_level::warning, sentence); };
  gate = std::make_shared<admission>(limits, request_observer_of(trace), config.log);
  if (trace) trace->watch(gate);
  config.gate = gate;
  config.observer = observer_of(options, trace);
  config.news = [told = options.log](std::string_view sentence) { told(log_level::info, sentence); };

  require_threads(options.make_lane ? 0 : globals.size() * options.threads_per_core);

  // One scheduler thread: all that actors do here is decide, and with one of them a message between two actors is no
  // hand-over between threads. `sharing`: an idle round trip takes a third of what `stealing` needs.
  system_config.set("scheduler.policy", caf::atom("sharing"));
  system_config.set("scheduler.max-threads", std::size_t{1});
  system_config.add_message_types<caf::id_block::ganglion>();
  system_config.add_thread_hook<thread_marker>();
  system.emplace(system_config);
  supervisor = spawn_supervisor(*system, std::move(config));
  auto ended = std::make_shared<std::promise<void>>();
  supervisor_ended = ended->get_future().share();
  supervisor->attach_functor([ended] { ended->set_value(); });
  // This thread's logger would otherwise keep the system from ending for as long as the thread lives.
  caf::logger::set_current_actor_system(nullptr);
}

engine::state::~state() {
  shut_down();
  supervisor = nullptr;
  system.reset();
  caf::logger::set_current_actor_system(nullptr);
}

void engine::state::refuse_forked_copy() const {
  if (is_forked_copy())
    throw error(errc::core_unavailable,
                "the engine was made before this process was forked, and its threads are in the parent: make an engine "
                "after the fork");
}

namespace {

/// What a lane has that is in the middle of writing an answer when its engine ends: nothing takes that from it, and a
/// busy machine may let it wait for long.
constexpr std::chrono::seconds bound_for_last_answers{10};

/// Waits until every accepted request was answered.
bool is_idle_within(admission& gate, std::chrono::milliseconds bound) {
  auto idle = std::make_shared<std::promise<void>>();
  auto is_idle = idle->get_future();
  gate.when_idle([idle] { idle->set_value(); });
  return is_idle.wait_for(bound) == std::future_status::ready;
}

}  // namespace

bool engine::state::drain(std::chrono::milliseconds bound) {
  const auto most = countable(bound);
  gate->close();
  caf::anon_send(supervisor, ganglion::drain{most.count()});
  return is_idle_within(*gate, most);
}

void engine::state::shut_down() {
  if (shut.exchange(true)) {
    supervisor_ended.wait();
    return;
  }
  if (!drain(options.shutdown_bound))
    log(log_level::warning,
        fmt::format("{} requests were not answered within {} ms of the engine's end: they are answered "
                    "with draining",
                    gate->unanswered(), options.shutdown_bound.count()));
  caf::anon_send_exit(supervisor, caf::exit_reason::user_shutdown);
  supervisor_ended.wait();
  if (trace) trace->close();
  // Lanes that had just reported are a few instructions from their end: see them out.
  wait_for_abandoned_lanes(std::chrono::milliseconds(100));
  is_idle_within(*gate, bound_for_last_answers);
}

// -- engine ----------------------------------------------------------------------------------------------------------

namespace {

/// Calls a function: on a thread of its own where the caller is on an engine's, which cannot wait for an engine to end.
void call_where_it_may_wait(std::function<void()> call) {
  if (!on_engine_thread()) return call();
  try {
    std::thread(std::move(call)).detach();
  } catch (const std::system_error&) {  // without a thread all of it is left as it is
  }
}

std::shared_ptr<engine::state> make_state(engine_options options) {
  auto made = std::make_unique<engine::state>(std::move(options));
  return {made.release(), [](engine::state* s) {
            if (!s->is_forked_copy()) call_where_it_may_wait([s] { delete s; });
          }};
}

void end(const std::shared_ptr<engine::state>& s) {
  if (s && !s->is_forked_copy()) call_where_it_may_wait([s] { s->shut_down(); });
}

}  // namespace

engine::engine(engine_options options) : state_(make_state(std::move(options))) {}

engine::~engine() { end(state_); }

engine::engine(engine&&) noexcept = default;

engine& engine::operator=(engine&& other) noexcept {
  if (this == &other) return *this;
  end(state_);
  state_ = std::move(other.state_);
  return *this;
}

engine::state& engine::own() const {
  if (!state_) throw error(errc::invalid_argument, "this engine was moved from: use the one that it was moved to");
  state_->refuse_forked_copy();
  return *state_;
}

std::size_t engine::core_count() const { return own().reserved.topology.cores.size(); }

const std::vector<core_info>& engine::cores() const { return own().reserved.topology.cores; }

ganglion::status engine::status() const {
  refuse_engine_thread("status()");
  auto promise = std::make_shared<std::promise<ganglion::status>>();
  auto answer = promise->get_future();
  caf::anon_send(own().supervisor, status_for{[promise](const ganglion::status& s) { promise->set_value(s); }});
  promise.reset();
  return wait_for_answer(std::move(answer));
}

bool engine::drain(std::chrono::milliseconds bound) {
  refuse_engine_thread("drain()");
  return own().drain(bound);
}

void engine::shut_down() {
  refuse_engine_thread("shut_down()");
  own().shut_down();
}

engine& engine::process_default() {
  static auto* const instance = new engine;  // never destroyed: no static destructor waits for cores
  return *instance;
}

}  // namespace ganglion

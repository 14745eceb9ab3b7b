#include <ganglion/actors/core/core.hpp>

#include "protocol/send_later.hpp"

#include <caf/all.hpp>
#include <fmt/format.h>

#include <map>
#include <mutex>

namespace ganglion {

using namespace std::chrono_literals;

expected<void> validate(const core_config& config) {
  if (!config.make_lane)
    return failure{errc::invalid_argument,
                   fmt::format("make_lane of core nc:{} is empty: a core needs something to run on", config.lane.core)};
  if (config.lane.threads < 1)
    return failure{errc::invalid_argument,
                   fmt::format("core nc:{} has 0 threads, but needs at least 1", config.lane.core)};
  return validate(config.limits);
}

expected<void> validate(const hang_limits& limits) {
  auto check = [](const char* name, const auto& limit) -> expected<void> {
    if (!limit || limit->count() > 0) return {};
    return failure{errc::invalid_argument,
                   fmt::format("{} is {} ns, but must be positive, or unset for no limit", name, limit->count())};
  };
  auto valid = check("max_execution_time", limits.max_execution_time);
  return valid ? check("max_load_step_time", limits.max_load_step_time) : valid;
}

namespace {

/// What is longer than a year is as good, and the clock can count ten of it.
constexpr std::chrono::nanoseconds longest_limit = 365 * 24h;

}  // namespace

std::optional<std::chrono::nanoseconds> load_step_time_of(const hang_limits& limits) {
  constexpr std::chrono::nanoseconds least = 10s;
  if (limits.max_load_step_time || !limits.max_execution_time) return limits.max_load_step_time;
  return std::max(least, 10 * std::min(*limits.max_execution_time, longest_limit));
}

bool is_hang(const caf::error& reason) { return reason == caf::sec::request_timeout; }

namespace {

/// Brings what a lane says into the core's mailbox, from any thread, until it is closed.
class core_port final : public lane_sink {
 public:
  explicit core_port(caf::weak_actor_ptr core) : core_(std::move(core)) {}

  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }

  void loaded(load_report report) override { send(lane_loaded{std::move(report), {}}); }
  void finished(std::vector<execution_report> reports) override {
    send(lane_finished{std::make_shared<const std::vector<execution_report>>(std::move(reports)), {}});
  }
  void lost(std::string reason) override { send(lane_lost{std::move(reason), {}}); }

 private:
  template <class Message>
  void send(Message m) {
    std::lock_guard lock(mutex_);
    if (!closed_) tell(core_, std::move(m));
  }

  caf::weak_actor_ptr core_;
  std::mutex mutex_;  // held while sending, so that after close() nothing is under way
  bool closed_ = false;
};

/// How long a core that is told to quit waits for what its lane runs. Whoever waited for that is answered by then, so
/// it is a lane on its way to the report that an execution ended, or one that computes for nobody.
constexpr auto last_reports = std::chrono::milliseconds(100);

/// A model that the lane was told to load, and has not reported.
struct load_in_lane {
  std::uint64_t operation;
  caf::typed_response_promise<model_loaded> promise;
  /// Whether the lane was told meanwhile to let the model go as soon as it has it.
  bool unloaded = false;
};

struct core_state {
  core_config config;
  std::shared_ptr<core_port> port;
  std::unique_ptr<ganglion::lane> lane;
  core_status status;
  clock::time_point born;
  std::map<std::uint64_t, std::size_t> model_bytes;
  /// The executions that the lane was given and has not reported.
  std::size_t in_lane = 0;
  clock::time_point in_lane_since;  // when that was 0 last
  std::int64_t busy_told = 0;       // by the last status
  /// Whether it will look at its lane.
  bool looks = false;
  /// Why it quits, once it is told to.
  std::optional<caf::error> ending;
  /// What the lane loads, by the model's id, in the order in which it was told to.
  std::multimap<std::uint64_t, load_in_lane> loading;

  static inline const char* name = "ganglion.core";

  ~core_state() {
    if (port) port->close();
  }
};

using core_pointer = core_actor::stateful_pointer<core_state>;

// -- lanes that hang --------------------------------------------------------------------------------------------------

/// How long the lane may be at what it does. Executions that wait behind a step of a load are not kept for ever: where
/// forwards have a limit, so has the step, from when the first of them came.
struct lane_limit {
  std::optional<std::chrono::nanoseconds> time;
  clock::time_point from;
};

lane_limit limit_of(const core_state& s, const lane_activity& busy) {
  const auto& limits = s.config.limits;
  if (!busy.loading) return {limits.max_execution_time, busy.since};
  if (limits.max_load_step_time || s.in_lane == 0) return {limits.max_load_step_time, busy.since};
  return {load_step_time_of(limits), std::max(busy.since, s.in_lane_since)};
}

/// Looks at the lane in time for whatever it does or begins, for as long as there is something that it does.
void watch(core_pointer self) {
  auto& s = self->state;
  const auto& [execution, load] = s.config.limits;
  if (s.looks || (!execution && !load) || (s.in_lane == 0 && s.loading.empty())) return;
  auto now = self->clock().now();
  auto at = now + std::min(execution.value_or(load.value_or(0ns)), load.value_or(execution.value_or(0ns)));
  if (auto busy = s.lane->activity())
    if (auto limit = limit_of(s, *busy); limit.time) at = std::min(at, limit.from + *limit.time);
  s.looks = true;
  send_later(*self, core_actor{self}, std::max(at - now, 0ns), look_at_lane{});
}

void on_look(core_pointer self) {
  auto& s = self->state;
  s.looks = false;
  auto busy = s.lane->activity();
  if (busy && !s.ending) {
    if (auto limit = limit_of(s, *busy); limit.time && self->clock().now() - limit.from >= *limit.time)
      return self->quit(caf::make_error(
          caf::sec::request_timeout,
          fmt::format("{} = {:.6g} ms passed while it {}: its thread is left behind",
                      busy->loading ? "max_load_step_time" : "max_execution_time",
                      std::chrono::duration<double, std::milli>(*limit.time).count(),
                      busy->loading ? "loaded a model" : "ran an execution")));
  }
  watch(self);
}

// -- messages ---------------------------------------------------------------------------------------------------------

caf::result<model_loaded> on_load(core_pointer self, const load_model& m) {
  auto promise = self->make_response_promise<model_loaded>();
  self->state.loading.emplace(m.model.id(), load_in_lane{m.operation, promise});
  self->state.lane->load(m.model);
  watch(self);
  return promise;
}

void on_unload(core_pointer self, const unload_model& m) {
  auto& s = self->state;
  s.model_bytes.erase(m.model_id);
  auto [first, last] = s.loading.equal_range(m.model_id);
  for (; first != last; ++first) first->second.unloaded = true;
  s.lane->unload(m.model_id);
}

void on_loaded(core_pointer self, const lane_loaded& m) {
  auto& s = self->state;
  // One `load` of a lane answers the oldest of those that wait for this model.
  auto [oldest, last] = s.loading.equal_range(m.report.model_id);
  if (oldest == last) return;
  auto load = std::move(oldest->second);
  s.loading.erase(oldest);
  if (m.report.error.code == errc::ok && !load.unloaded) s.model_bytes[m.report.model_id] = m.report.bytes;
  load.promise.deliver(model_loaded{s.config.lane.core, load.operation, m.report});
}

void on_start(core_pointer self, const start_execution& m) {
  auto& s = self->state;
  if (s.ending) return;
  if (s.in_lane++ == 0) s.in_lane_since = self->clock().now();
  s.lane->start(m.work);
  watch(self);
}

void on_exit(core_pointer self, const caf::exit_msg& m) {
  auto& s = self->state;
  if (s.ending) return;
  if (s.in_lane == 0) return self->quit(m.reason);
  s.ending = m.reason;
  send_later(*self, core_actor{self}, last_reports, end_core{});
}

void on_finished(core_pointer self, const lane_finished& m) {
  auto& s = self->state;
  s.in_lane -= m.reports->size();
  for (const auto& report : *m.reports) {
    if (report.ran) {
      s.status.executions += static_cast<std::uint64_t>(report.forwards);
      s.status.rows += static_cast<std::uint64_t>(report.rows());
      s.status.padding_rows += static_cast<std::uint64_t>(report.work->padding_rows());
      s.status.busy_ns += std::chrono::nanoseconds(report.ended - report.started).count();
    }
    if (s.config.observer) s.config.observer(report, s.config.lane.core);
  }
  if (auto batcher = strengthen<batcher_actor>(s.config.batcher))
    self->send(batcher, executions_done{s.config.lane.core, m.reports});
  if (s.ending && s.in_lane == 0) self->quit(*s.ending);
}

core_status on_status(core_pointer self) {
  auto result = self->state.status;
  result.index = self->state.config.lane.core;
  result.up = true;
  // What it is in the middle of is busy already. The lane's own count may be a little less: the sum never shrinks.
  if (auto busy = self->state.lane->activity(); busy && !busy->loading)
    result.busy_ns += std::chrono::nanoseconds(self->clock().now() - busy->since).count();
  result.busy_ns = self->state.busy_told = std::max(self->state.busy_told, result.busy_ns);
  result.up_ns = std::chrono::nanoseconds(self->clock().now() - self->state.born).count();
  result.models = self->state.model_bytes.size();
  for (auto [id, bytes] : self->state.model_bytes) result.model_bytes += bytes;
  return result;
}

/// Makes the lane. Returns why it cannot be made, or nothing.
std::string make_lane(core_state& s) {
  try {
    s.lane = s.config.make_lane(s.config.lane, s.port);
    return s.lane ? "" : "make_lane returned null";
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "make_lane threw something that is no exception type of the standard";
  }
}

core_actor::behavior_type core_behavior(core_pointer self, core_config config) {
  auto& s = self->state;
  s.config = std::move(config);
  for (auto* limit : {&s.config.limits.max_execution_time, &s.config.limits.max_load_step_time})
    if (*limit) *limit = std::min(**limit, longest_limit);
  s.born = self->clock().now();
  self->set_exit_handler([self](caf::exit_msg& m) { on_exit(self, m); });
  s.port = std::make_shared<core_port>(caf::actor_cast<caf::weak_actor_ptr>(self->ctrl()));
  if (auto problem = make_lane(s); !problem.empty())
    self->quit(caf::make_error(caf::sec::runtime_error, fmt::format("its lane cannot be made: {}", problem)));
  return {
      [self](const load_model& m) { return on_load(self, m); },
      [self](const unload_model& m) { on_unload(self, m); },
      [self](const start_execution& m) { on_start(self, m); },
      [self](const lane_loaded& m) { on_loaded(self, m); },
      [self](const lane_finished& m) { on_finished(self, m); },
      [self](const lane_lost& m) { self->quit(caf::make_error(caf::sec::runtime_error, m.reason)); },
      [self](const look_at_lane&) { on_look(self); },
      [self](const end_core&) { self->quit(self->state.ending.value_or(caf::error{})); },
      [self](const status_query&) { return on_status(self); },
  };
}

}  // namespace

core_actor spawn_core(caf::local_actor& parent, core_config config) {
  if (auto valid = validate(config); !valid) throw error(valid.error());
  return parent.spawn(core_behavior, std::move(config));
}

}  // namespace ganglion

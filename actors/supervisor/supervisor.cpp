#include <ganglion/actors/supervisor/supervisor.hpp>

#include "protocol/send_later.hpp"
#include "supervisor/supervisor_state.hpp"

#include <ganglion/actors/core/cpu_lane.hpp>

#include <caf/all.hpp>
#include <fmt/format.h>

namespace ganglion {

expected<void> validate(const supervisor_config& config) {
  if (config.cores.empty())
    return failure{errc::core_unavailable, "an engine needs at least 1 core, but there is none"};
  if (!config.make_lane)
    return failure{errc::invalid_argument, "make_lane is empty: an engine needs something to run on"};
  if (config.restart.first.count() <= 0 || config.restart.most < config.restart.first || config.restart.lost_after < 1)
    return failure{
        errc::invalid_argument,
        fmt::format("restart delays of {} to {} ms, lost after {} deaths, cannot be used: positive, the first no "
                    "more than the most, and at least 1 death",
                    config.restart.first.count(), config.restart.most.count(), config.restart.lost_after)};
  for (std::size_t i = 0; i < config.cores.size(); ++i)
    if (config.cores[i].core != i || config.cores[i].threads < 1)
      return failure{
          errc::invalid_argument,
          fmt::format("core {} of the configuration says that it is core {} with {} threads: indices count from 0, "
                      "and a core needs at least 1 thread",
                      i, config.cores[i].core, config.cores[i].threads)};
  if (auto valid = validate(config.limits); !valid) return valid;
  return validate(config.batcher);
}

supervisor_config cpu_cores(std::size_t count) {
  supervisor_config config;
  for (std::size_t i = 0; i < count; ++i) config.cores.push_back({i, 1, {}});
  config.make_lane = make_cpu_lane;
  return config;
}

namespace {

/// Closes the gate and answers whoever waits for the supervisor itself.
void begin_ending(supervisor_pointer self, caf::error reason) {
  auto& s = self->state;
  s.ending = true;
  s.exit_reason = std::move(reason);
  s.config.gate->close();
  s.fail_operations({errc::draining, "the engine ended while the model was loaded"});
  for (auto& [generation, promise] : s.drains)
    promise.deliver(drained{static_cast<std::uint64_t>(s.config.gate->unanswered())});
  s.drains.clear();
  for (auto& collection : s.collections) collection->answer();
  s.collections.clear();
}

/// Ends children in order; called again at each that went down.
void advance_shutdown(supervisor_pointer self) {
  auto& s = self->state;
  if (!s.ending) return;
  auto reason = caf::exit_reason::user_shutdown;
  if (!s.coordinators.empty()) {
    for (auto& [address, entry] : s.coordinators)
      if (auto strong = caf::actor_cast<caf::strong_actor_ptr>(address)) self->send_exit(strong, reason);
    return;
  }
  if (s.batcher) {
    self->send_exit(s.batcher, reason);
    return;
  }
  bool alive = false;
  for (auto& c : s.cores) {
    if (!c.handle) continue;
    alive = true;
    self->send_exit(c.handle, reason);
  }
  if (!alive) self->quit(s.exit_reason);
}

void on_exit(supervisor_pointer self, caf::exit_msg& m) {
  auto& s = self->state;
  if (s.ending) return;
  begin_ending(self, m.reason);
  advance_shutdown(self);
}

void on_down(supervisor_pointer self, caf::down_msg& m) {
  auto& s = self->state;
  if (auto found = s.coordinators.find(m.source); found != s.coordinators.end()) {
    auto node = s.coordinators.extract(found);
    coordinator_went_down(self, std::move(node.mapped()));
  } else if (s.batcher && s.batcher.address() == m.source) {
    s.batcher = nullptr;
    // Nothing works without it, and its death is a fault of ours: end in order, so that everybody gets an answer.
    if (!s.ending) {
      s.say("the batcher died; the engine ends");
      begin_ending(self, m.reason);
    }
  } else {
    core_went_down(self, m);
  }
  advance_shutdown(self);
}

caf::result<drained> on_drain(supervisor_pointer self, const drain& m) {
  auto& s = self->state;
  if (s.ending) return drained{static_cast<std::uint64_t>(s.config.gate->unanswered())};
  auto promise = self->make_response_promise<drained>();
  auto generation = ++s.drain_generation;
  s.drains.emplace(generation, promise);
  s.config.gate->close();
  if (s.batcher) self->send(s.batcher, admission_closed{});
  auto weak = caf::actor_cast<caf::weak_actor_ptr>(self->ctrl());
  s.config.gate->when_idle([weak, generation] { tell(weak, drain_ended{generation, {}}); });
  auto bound = std::chrono::milliseconds(std::clamp<std::int64_t>(m.bound_ms, 0, longest_ms));
  send_later(*self, supervisor_actor{self}, bound, drain_ended{generation, {}});
  return promise;
}

void on_drain_ended(supervisor_pointer self, const drain_ended& m) {
  auto& s = self->state;
  auto found = s.drains.find(m.generation);
  if (found == s.drains.end()) return;
  found->second.deliver(drained{static_cast<std::uint64_t>(s.config.gate->unanswered())});
  s.drains.erase(found);
}

supervisor_actor::behavior_type supervisor_behavior(supervisor_pointer self, supervisor_config config) {
  auto& s = self->state;
  s.config = std::move(config);
  if (!s.config.gate) s.config.gate = std::make_shared<admission>(admission_limits{}, nullptr, s.config.log);
  self->set_exit_handler([self](caf::exit_msg& m) { on_exit(self, m); });
  self->set_down_handler([self](caf::down_msg& m) { on_down(self, m); });
  s.batcher = spawn_batcher(*self, s.config.batcher);
  self->monitor(s.batcher);
  s.cores.resize(s.config.cores.size());
  for (auto& c : s.cores) c.restarts = backoff{s.config.restart};
  for (std::size_t i = 0; i < s.cores.size(); ++i) start_core(self, i);
  return {
      [self](const deploy& m) { return on_deploy(self, m); },
      [self](const replace_model& m) { return on_replace(self, m); },
      [self](const model_loaded& m) { on_model_loaded(self, m); },
      [self](const served& m) { on_served(self, m); },
      [self](const deployment_removed& m) { on_deployment_removed(self, m); },
      [self](const restart_core& m) {
        if (!self->state.ending) start_core(self, m.index);
      },
      [self](const drain_ended& m) { on_drain_ended(self, m); },
      [self](const status_for& m) { collect_status(self, m.reply); },
      [self](const status_query&) {
        auto promise = self->make_response_promise<status>();
        collect_status(self, [promise](const status& result) mutable { promise.deliver(result); });
        return promise;
      },
      [self](const drain& m) { return on_drain(self, m); },
      [self](const withdraw& m) {
        if (self->state.batcher) self->send(self->state.batcher, withdraw{m.request_id, m.reason, {}});
      },
  };
}

}  // namespace

supervisor_actor spawn_supervisor(caf::actor_system& system, supervisor_config config) {
  if (auto valid = validate(config); !valid) throw error(valid.error());
  return system.spawn(supervisor_behavior, std::move(config));
}

}  // namespace ganglion

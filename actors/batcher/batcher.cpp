#include <ganglion/actors/batcher/batcher.hpp>

#include "protocol/send_later.hpp"

#include <ganglion/actors/batcher/formation.hpp>

#include <caf/all.hpp>
#include <fmt/format.h>

#include <map>
#include <set>

namespace ganglion {

expected<void> validate(const batcher_config& config) {
  const auto& c = config.credits;
  if (c.executions < 1 || c.most_executions < c.executions || !(c.seconds >= 0))
    return failure{
        errc::invalid_argument,
        fmt::format("credits of {} to {} executions and {} seconds cannot be used: at least 1 execution, no more "
                    "than the most, and no negative time",
                    c.executions, c.most_executions, c.seconds)};
  if (!(c.least_together >= 0 && c.least_together <= c.most_together))
    return failure{errc::invalid_argument,
                   fmt::format("{} to {} seconds of batches together cannot be used: at least 0 seconds, and no more "
                               "than the most",
                               c.least_together, c.most_together)};
  if (config.max_queue_time && config.max_queue_time->count() <= 0)
    return failure{errc::invalid_argument,
                   fmt::format("max_queue_time is {} ns, but must be positive, or unset for no limit",
                               config.max_queue_time->count())};
  return {};
}

namespace {

struct batcher_state {
  formation queue;
  std::map<std::size_t, core_actor> cores;
  std::map<std::uint64_t, caf::typed_response_promise<deployment_removed>> closing;
  /// When the ticks that are under way come: one of them no later than the queue is due.
  std::set<clock::time_point> ticks;

  static inline const char* name = "ganglion.batcher";

  ~batcher_state() {
    queue.fail_all({errc::draining, "the engine ended before the request was answered: send it to another engine"});
  }
};

using batcher_pointer = batcher_actor::stateful_pointer<batcher_state>;

void arm(batcher_pointer self, clock::time_point now) {
  auto& s = self->state;
  auto due = s.queue.due();
  if (!due || (!s.ticks.empty() && *s.ticks.begin() <= *due)) return;
  s.ticks.insert(*due);
  send_later(*self, batcher_actor{self}, std::max(*due - now, clock::duration::zero()), batcher_tick{});
}

/// Binds work to cores for as long as one of them takes any.
void pump(batcher_pointer self) {
  auto& s = self->state;
  auto now = self->clock().now();
  s.queue.advance(now);
  while (auto next = s.queue.next(now)) self->send(s.cores[next->core], start_execution{next->work});
  arm(self, now);
  if (s.closing.empty()) return;
  for (auto id : s.queue.take_closed()) {
    auto node = s.closing.extract(id);
    if (node) node.mapped().deliver(deployment_removed{id});
  }
}

void learn(batcher_pointer self, const deployment& d, const warm_up& found) {
  if (found.seconds.empty()) return;
  self->state.queue.expect_places(d.id, found.places_are_alike);
  for (std::size_t program = 0; program < found.seconds.size(); ++program)
    if (found.seconds[program] > 0) self->state.queue.expect_seconds(d.id, program, found.seconds[program]);
}

caf::result<deployment_removed> on_remove(batcher_pointer self, const remove_deployment& m) {
  auto promise = self->make_response_promise<deployment_removed>();
  if (!self->state.queue.close(m.id)) {
    promise.deliver(deployment_removed{m.id});
    return promise;
  }
  self->state.closing.emplace(m.id, promise);
  pump(self);
  return promise;
}

batcher_actor::behavior_type batcher_behavior(batcher_pointer self, batcher_config config) {
  self->state.queue = formation{{config.credits, config.max_queue_time}};
  return {
      [self](const add_deployment& m) {
        self->state.queue.add(m.value, m.num_workers, m.loading);
        learn(self, *m.value, m.found);
      },
      [self](const model_on_core& m) {
        learn(self, *m.target, m.found);
        self->state.queue.model_on_core(m.target->id, m.core);
        pump(self);
      },
      [self](const deployment_failed& m) {
        self->state.queue.fail_deployment(m.id, m.reason);
        pump(self);
      },
      [self](const remove_deployment& m) { return on_remove(self, m); },
      [self](const limit_workers& m) {
        self->state.queue.set_num_workers(m.deployment_id, m.num_workers);
        pump(self);
      },
      [self](const enqueue& m) {
        self->state.queue.enqueue(m.value, self->clock().now());
        pump(self);
      },
      [self](const withdraw& m) {
        self->state.queue.cancel(m.request_id, m.reason);
        pump(self);
      },
      [self](const admission_closed&) {
        self->state.queue.close_admission();
        pump(self);
      },
      [self](const core_up& m) {
        self->state.cores[m.index] = m.handle;
        self->state.queue.core_up(m.index);
        pump(self);
      },
      [self, lost = std::move(config.lost)](const core_down& m) {
        self->state.cores.erase(m.index);
        auto ran = self->state.queue.core_down(m.index, m.returns);
        if (lost)
          for (const auto& work : ran) lost(work, m.index);
        pump(self);
      },
      [self](const executions_done& m) {
        auto& s = self->state;
        const auto now = self->clock().now();
        for (const auto& report : *m.reports) s.queue.finished(m.core, report, now);
        pump(self);
      },
      [self](const batcher_tick&) {
        auto& ticks = self->state.ticks;
        ticks.erase(ticks.begin(), ticks.upper_bound(self->clock().now()));
        pump(self);
      },
      [self](const status_query&) {
        status result;
        result.executions_in_flight = self->state.queue.executions_in_flight();
        for (auto [id, count] : self->state.queue.in_flight_by_deployment()) {
          auto& m = result.models.emplace_back();
          m.id = id;
          m.executions_in_flight = count;
        }
        return result;
      },
  };
}

}  // namespace

batcher_actor spawn_batcher(caf::local_actor& parent, batcher_config config) {
  if (auto valid = validate(config); !valid) throw error(valid.error());
  return parent.spawn(batcher_behavior, std::move(config));
}

}  // namespace ganglion

#include "protocol/send_later.hpp"
#include "supervisor/supervisor_state.hpp"

#include <ganglion/actors/core/cpu_lane.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace ganglion {

namespace {

/// The sentence of whoever quit, where there is one.
std::string sentence_of(const caf::error& reason) {
  const auto& context = reason.context();
  return context.match_elements<std::string>() ? context.get_as<std::string>(0) : caf::to_string(reason);
}

/// A core that dies of the same again and again is told of each time that the number of its deaths has doubled.
void tell_of_death(supervisor_state& s, std::size_t index, std::string why, std::chrono::milliseconds delay) {
  auto& c = s.cores[index];
  auto deaths = c.restarts.deaths();
  c.death_told = why != c.last_reason || std::has_single_bit(deaths) || deaths == s.config.restart.lost_after;
  if (c.death_told)
    s.say(fmt::format("core nc:{} died{} ({}) and starts again in {} ms{}", index,
                      deaths == 1 ? "" : fmt::format(" {} times in a row", deaths), why, delay.count(),
                      c.restarts.lost() ? "; it counts as lost until then" : ""));
  c.last_reason = std::move(why);
}

/// Warm-up runs forwards: where those have a limit, it has one too on a core that starts again, for what hung once may
/// hang in each of them.
hang_limits limits_of(const supervisor_state& s, const core_entry& c) {
  auto limits = s.config.limits;
  if (c.restart_count > 0) limits.max_load_step_time = load_step_time_of(limits);
  return limits;
}

/// Counts a death. Returns the delay before the next start.
std::chrono::milliseconds count_death(const supervisor_state& s, core_entry& c, const caf::error& reason,
                                      clock::time_point now) {
  ++c.restart_count;
  if (!is_hang(reason)) return c.restarts.died(c.announced ? now - c.served_since : clock::duration::zero());
  if (!c.announced) return c.restarts.hung_again();
  // The time that it hung is none in which it served.
  const auto& [execution, load] = s.config.limits;
  auto hung = std::max(execution.value_or(std::chrono::nanoseconds(0)), load.value_or(std::chrono::nanoseconds(0)));
  return c.restarts.died(now - c.served_since - hung);
}

}  // namespace

void start_core(supervisor_pointer self, std::size_t index) {
  auto& s = self->state;
  auto& c = s.cores[index];
  c.handle = spawn_core(*self, {s.config.cores[index], s.config.make_lane,
                                caf::actor_cast<caf::weak_actor_ptr>(s.batcher), s.config.observer, limits_of(s, c)});
  self->monitor(c.handle);
  load_all(self, index);
  announce_if_ready(self, index);
}

void announce_if_ready(supervisor_pointer self, std::size_t index) {
  auto& c = self->state.cores[index];
  if (c.announced || !c.handle || !c.awaited.empty()) return;
  c.announced = true;
  c.served_since = self->clock().now();
  const auto& news = self->state.config.news;
  if (news && c.death_told && !c.models.empty())
    news(fmt::format("core nc:{} is back and serves its {} model{} again", index, c.models.size(),
                     c.models.size() == 1 ? "" : "s"));
  self->send(self->state.batcher, core_up{index, c.handle});
}

void core_went_down(supervisor_pointer self, const caf::down_msg& m) {
  auto& s = self->state;
  for (std::size_t i = 0; i < s.cores.size(); ++i) {
    auto& c = s.cores[i];
    if (!c.handle || c.handle.address() != m.source) continue;
    c.handle = nullptr;
    c.awaited.clear();
    c.loaded.clear();
    if (s.ending) return;
    auto delay = count_death(s, c, m.reason, self->clock().now());
    c.announced = false;
    tell_of_death(s, i, sentence_of(m.reason), delay);
    self->send(s.batcher, core_down{i, !c.restarts.lost()});
    give_up_waiting_for(self, i);
    send_later(*self, supervisor_actor{self}, delay, restart_core{i});
    return;
  }
}

namespace {

/// Of a model that takes the place of another it tells under one number, which counts the requests of both.
std::vector<model_status> models_of(const supervisor_state& s) {
  std::vector<model_status> result;
  for (const auto& [address, entry] : s.coordinators) {
    auto found = s.deployments.find(entry.deployment);
    if (found == s.deployments.end()) continue;
    const auto& d = found->second;
    auto& m = result.emplace_back();
    m.id = d->id;
    m.content_hash = d->model.content_hash();
    m.cores.assign(d->cores.begin(), d->cores.end());
    d->counters->read(m);
  }
  std::ranges::sort(result, {}, &model_status::id);
  return result;
}

constexpr auto status_timeout = std::chrono::seconds(1);

}  // namespace

void collect_status(supervisor_pointer self, std::function<void(const status&)> reply) {
  auto& s = self->state;
  auto collection = std::make_shared<status_collection>();
  collection->reply = std::move(reply);
  std::erase_if(s.collections, [](const auto& c) { return !c->reply; });
  s.collections.push_back(collection);
  auto& result = collection->result;
  result.queued_rows = static_cast<std::uint64_t>(s.config.gate->queued_rows());
  result.queued_bytes = static_cast<std::uint64_t>(s.config.gate->queued_bytes());
  result.unanswered = static_cast<std::uint64_t>(s.config.gate->unanswered());
  auto left_behind = abandoned_lanes();
  result.abandoned_lanes = left_behind.count;
  result.abandoned_bytes = left_behind.bytes;
  result.models = models_of(s);
  result.cores.resize(s.cores.size());
  collection->missing = 1;  // ours, so that the reply waits for the loop below
  for (std::size_t i = 0; i < s.cores.size(); ++i) {
    result.cores[i].index = i;
    result.cores[i].restarts = s.cores[i].restart_count;
    result.cores[i].lost = s.cores[i].restarts.lost() && !s.cores[i].announced;
    if (!s.cores[i].handle || s.ending) continue;
    ++collection->missing;
    self->request(s.cores[i].handle, status_timeout, status_query{})
        .then(
            [collection, i, ready = s.cores[i].announced](const core_status& part) {
              auto& c = collection->result.cores[i];
              auto seen = std::exchange(c, part);
              c.restarts = seen.restarts;
              c.lost = seen.lost;
              c.up = ready;  // it talks, but may still load its models
              collection->part_came();
            },
            [collection](const caf::error&) { collection->part_came(); });
  }
  for (const auto& [address, entry] : s.coordinators)
    if (entry.leaving != 0) collection->told_as[entry.leaving] = entry.deployment;
  if (s.batcher && !s.ending) {
    ++collection->missing;
    self->request(s.batcher, status_timeout, status_query{})
        .then(
            [collection](const status& part) {
              auto& all = collection->result;
              all.executions_in_flight = part.executions_in_flight;
              for (const auto& m : part.models) {
                auto told = collection->told_as.find(m.id);
                auto id = told == collection->told_as.end() ? m.id : told->second;
                for (auto& ours : all.models)
                  if (ours.id == id) ours.executions_in_flight += m.executions_in_flight;
              }
              collection->part_came();
            },
            [collection](const caf::error&) { collection->part_came(); });
  }
  collection->part_came();
}

}  // namespace ganglion

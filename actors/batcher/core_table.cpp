#include <ganglion/actors/batcher/core_table.hpp>

#include <algorithm>

namespace ganglion {

void core_table::up(std::size_t core) {
  auto& c = cores_[core];
  c.up = true;
  c.lost = false;
  c.account = credit_account{credits_};
}

std::vector<execution_ptr> core_table::down(std::size_t core, bool returns) {
  auto& c = cores_[core];
  c.up = false;
  c.lost = !returns;
  c.account = credit_account{credits_};
  c.measured = 0;
  std::vector<execution_ptr> result;
  for (auto& [id, h] : std::exchange(c.in_flight, {})) result.push_back(std::move(h.work));
  return result;
}

const core_table::entry* core_table::find(std::size_t core) const {
  auto found = cores_.find(core);
  return found == cores_.end() ? nullptr : &found->second;
}

bool core_table::is_up(std::size_t core) const {
  const auto* c = find(core);
  return c != nullptr && c->up;
}

std::size_t core_table::count_up(const std::vector<std::size_t>& among) const {
  return static_cast<std::size_t>(std::count_if(among.begin(), among.end(), [this](auto core) { return is_up(core); }));
}

bool core_table::all_lost(const std::vector<std::size_t>& among) const {
  return std::all_of(among.begin(), among.end(), [this](auto core) {
    const auto* c = find(core);
    return c != nullptr && c->lost;
  });
}

bool core_table::any_up_beside(const std::vector<std::size_t>& among, std::optional<std::size_t> core) const {
  return std::any_of(among.begin(), among.end(), [&](auto other) { return core != other && is_up(other); });
}

std::optional<std::size_t> core_table::pick(const core_wish& wish) const {
  std::optional<std::size_t> best;
  const entry* best_entry = nullptr;
  bool must_avoid = wish.avoid && any_up_beside(*wish.cores, wish.avoid);
  for (auto core : *wish.cores) {
    const auto* c = find(core);
    if (c == nullptr || !c->up || !c->account.accepts(wish.seconds)) continue;
    if (wish.bound && *wish.bound != core) continue;
    if (must_avoid && *wish.avoid == core) continue;
    if (wish.also && !wish.also(core)) continue;
    auto is_ours = [&wish](const auto& h) {
      const auto& work = *h.second.work;
      return work.deployment_id == wish.deployment_id && work.parts.front().owner->bucket() == wish.bucket;
    };
    if (!wish.full && std::any_of(c->in_flight.begin(), c->in_flight.end(), is_ours)) continue;
    if (best_entry != nullptr && best_entry->account.executions() <= c->account.executions()) continue;
    best = core;
    best_entry = c;
  }
  return best;
}

void core_table::give(std::size_t core, const execution_ptr& work, double seconds, double measured) {
  auto& c = cores_[core];
  c.account.take(seconds);
  c.measured += measured;
  c.in_flight.emplace(work->id, held{work, seconds, measured});
}

std::optional<std::pair<execution_ptr, double>> core_table::take(std::size_t core, std::uint64_t execution_id) {
  auto& c = cores_[core];
  auto node = c.in_flight.extract(execution_id);
  if (!node) return std::nullopt;
  c.account.give_back(node.mapped().seconds);
  c.measured = c.in_flight.empty() ? 0 : c.measured - node.mapped().measured;
  return std::pair{std::move(node.mapped().work), node.mapped().seconds};
}

std::size_t core_table::in_flight() const {
  std::size_t count = 0;
  for (const auto& [index, c] : cores_) count += c.in_flight.size();
  return count;
}

double core_table::measured_in_flight(const std::vector<std::size_t>& among) const {
  double seconds = 0;
  for (auto core : among)
    if (const auto* c = find(core)) seconds += c->measured;
  return seconds;
}

bool core_table::all_done() const {
  // The latest first: under load it is the one that has not run.
  for (const auto& [index, c] : cores_)
    for (auto held = c.in_flight.rbegin(); held != c.in_flight.rend(); ++held)
      for (const auto& p : held->second.work->parts)
        if (!p.where->done()) return false;
  return true;
}

}  // namespace ganglion

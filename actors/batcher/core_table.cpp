#include <ganglion/actors/batcher/core_table.hpp>

#include <algorithm>

namespace ganglion {

namespace {

template <class Key>
void count_down(std::map<Key, std::size_t>& counts, typename std::map<Key, std::size_t>::iterator one) {
  if (--one->second == 0) counts.erase(one);
}

}  // namespace

// -- groups -----------------------------------------------------------------------------------------------------------

std::size_t core_table::open_group(const std::vector<std::size_t>& cores) {
  auto is_it = [&cores](const group_entry& g) { return g.users > 0 && g.value->cores() == cores; };
  auto found = std::find_if(groups_.begin(), groups_.end(), is_it);
  if (found == groups_.end()) {
    found = std::find_if(groups_.begin(), groups_.end(), [](const group_entry& g) { return g.users == 0; });
    if (found == groups_.end()) found = groups_.emplace(groups_.end());
    found->value.emplace(cores);
    const auto group = static_cast<std::size_t>(found - groups_.begin());
    for (std::size_t place = 0; place < cores.size(); ++place) {
      auto& c = at(cores[place]);
      c.groups.push_back({group, place});
      found->value->set(place, load_of(c));
    }
  }
  ++found->users;
  return static_cast<std::size_t>(found - groups_.begin());
}

void core_table::close_group(std::size_t group) {
  auto& g = groups_[group];
  if (--g.users > 0) return;
  for (auto core : g.value->cores())
    std::erase_if(cores_[core].groups, [group](const membership& m) { return m.group == group; });
  g.value.reset();
}

core_load core_table::load_of(const entry& c) const {
  core_load load;
  load.measured = c.measured;
  if (!c.in_flight.empty()) load.running = c.measured / static_cast<double>(c.in_flight.size());
  load.since = c.since;
  load.up = c.up;
  if (c.up && !c.held_back) {
    load.executions = c.account.executions();
    load.seconds = c.account.seconds();
  }
  return load;
}

void core_table::note(std::size_t core) {
  const auto& c = cores_[core];
  for (const auto& m : c.groups) groups_[m.group].value->set(m.place, load_of(c));
}

// -- which are there --------------------------------------------------------------------------------------------------

core_table::entry& core_table::at(std::size_t core) {
  if (core >= cores_.size()) cores_.resize(core + 1);
  return cores_[core];
}

void core_table::up(std::size_t core) {
  auto& c = at(core);
  c.up = true;
  c.lost = false;
  c.account = credit_account{credits_};
  note(core);
}

std::vector<execution_ptr> core_table::down(std::size_t core, bool returns) {
  auto& c = at(core);
  c.up = false;
  c.lost = !returns;
  c.account = credit_account{credits_};
  c.measured = 0;
  std::vector<execution_ptr> result;
  for (auto& [id, h] : c.in_flight) {
    forget(c, *h.work);
    result.push_back(std::move(h.work));
  }
  if (!c.in_flight.empty()) no_longer_busy(core);
  c.in_flight.clear();
  note(core);
  return result;
}

bool core_table::is_up(std::size_t core) const {
  const auto* c = find(core);
  return c != nullptr && c->up;
}

bool core_table::all_lost(const std::vector<std::size_t>& among) const {
  return std::all_of(among.begin(), among.end(), [this](auto core) {
    const auto* c = find(core);
    return c != nullptr && c->lost;
  });
}

bool core_table::any_up_beside(const std::vector<std::size_t>& among, std::size_t core) const {
  return std::any_of(among.begin(), among.end(), [&](auto other) { return core != other && is_up(other); });
}

bool core_table::any_up_beside(std::size_t group, std::size_t core) const {
  const auto* c = find(core);
  bool is_one = c != nullptr && c->up &&
                std::ranges::any_of(c->groups, [group](const membership& m) { return m.group == group; });
  return count_up(group) > static_cast<std::size_t>(is_one);
}

// -- what they hold ---------------------------------------------------------------------------------------------------

std::optional<std::size_t> core_table::pick(const core_wish& wish) const {
  const auto& group = *groups_[wish.group].value;
  const bucket_key key{wish.deployment_id, wish.bucket};
  const bool idle_only = wish.awaited != nullptr && wish.awaited->groups.contains(wish.group);
  auto takes = [&](const core_load& load) {
    return (load.executions == 0 || !idle_only) && credits_.accept(load.executions, load.seconds, wish.seconds);
  };
  auto may_have = [&](std::size_t core) {
    const auto& c = cores_[core];
    if (!wish.full && c.of_buckets.contains(key)) return false;
    if (wish.awaited == nullptr || c.in_flight.empty()) return true;
    return !wish.awaited->cores.contains(core) && std::ranges::none_of(c.groups, [&](const membership& m) {
      return wish.awaited->groups.contains(m.group);
    });
  };
  if (wish.bound) {
    const auto* c = find(*wish.bound);
    return c != nullptr && takes(load_of(*c)) && may_have(*wish.bound) ? wish.bound : std::nullopt;
  }
  if (!wish.full) {
    // Where all of them hold something of it, none is looked at.
    auto found = cores_of_bucket_.find(key);
    if (found != cores_of_bucket_.end() && found->second >= group.total().up) return std::nullopt;
  }
  bool must_avoid = wish.avoid && any_up_beside(wish.group, *wish.avoid);
  return group.least_busy(takes, [&](std::size_t core) {
    return !(must_avoid && *wish.avoid == core) && may_have(core);
  });
}

void core_table::hold_back(std::size_t core) {
  at(core).held_back = true;
  held_back_.push_back(core);
  note(core);
}

void core_table::release() {
  for (auto core : held_back_) {
    cores_[core].held_back = false;
    note(core);
  }
  held_back_.clear();
}

void core_table::give(std::size_t core, const execution_ptr& work, double seconds, double measured,
                      clock::time_point now) {
  auto& c = at(core);
  if (c.in_flight.empty()) {
    c.since = now;
    c.busy_place = busy_.size();
    busy_.push_back(core);
  }
  c.account.take(seconds);
  c.measured += measured;
  c.in_flight.emplace(work->id, held{work, seconds, measured});
  ++in_flight_;
  if (++c.of_buckets[key_of(*work)] == 1) ++cores_of_bucket_[key_of(*work)];
  note(core);
}

std::optional<std::pair<execution_ptr, double>> core_table::take(std::size_t core, std::uint64_t execution_id,
                                                                   clock::time_point now) {
  auto& c = at(core);
  auto node = c.in_flight.extract(execution_id);
  if (!node) return std::nullopt;
  auto& [work, seconds, measured] = node.mapped();
  c.since = now;
  c.account.give_back(seconds);
  c.measured = c.in_flight.empty() ? 0 : c.measured - measured;
  forget(c, *work);
  if (c.in_flight.empty()) no_longer_busy(core);
  note(core);
  return std::pair{std::move(work), seconds};
}

void core_table::forget(entry& c, const execution& work) {
  --in_flight_;
  auto of_core = c.of_buckets.find(key_of(work));
  if (of_core->second == 1) count_down(cores_of_bucket_, cores_of_bucket_.find(of_core->first));
  count_down(c.of_buckets, of_core);
}

void core_table::no_longer_busy(std::size_t core) {
  auto place = cores_[core].busy_place;
  busy_[place] = busy_.back();
  cores_[busy_[place]].busy_place = place;
  busy_.pop_back();
}

bool core_table::all_done() const {
  // The latest first: under load it is the one that has not run.
  for (auto core : busy_)
    for (auto held = cores_[core].in_flight.rbegin(); held != cores_[core].in_flight.rend(); ++held)
      for (const auto& p : held->second.work->parts)
        if (!p.where->done()) return false;
  return true;
}

}  // namespace ganglion

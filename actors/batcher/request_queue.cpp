#include "queue_entry.hpp"

#include <algorithm>

namespace ganglion {

std::int64_t batch::rows() const {
  std::int64_t result = 0;
  for (const auto& p : pieces) result += p.rows;
  return result;
}

request_queue::request_queue(queue_config config) : config_(config) {}
request_queue::request_queue(request_queue&&) noexcept = default;
request_queue& request_queue::operator=(request_queue&&) noexcept = default;
request_queue::~request_queue() = default;

// -- what waits -------------------------------------------------------------------------------------------------------

void request_queue::push(request_ptr r, clock::time_point now) {
  auto index = static_cast<std::size_t>(r->options().priority);
  auto& l = levels_[index];
  auto& t = tenant_in(l, r->options().tenant);
  t.rows += r->rows();
  t.entries.push_back({std::move(r), 0, now, index, t.name, {}, {}});
  auto& e = t.entries.back();
  e.place = std::prev(t.entries.end());
  e.owner->waiting(&e);
  alone_ += !e.owner->joinable();
  count(index, e, e.rows());
  if (index > 0 && config_.ageing.count() > 0)
    e.rise = rises_.emplace_hint(rises_.end(), now + config_.ageing, &e);
}

std::int64_t request_queue::rows_up_to(priority p) const {
  std::int64_t result = 0;
  for (std::size_t i = 0; i <= static_cast<std::size_t>(p); ++i) result += levels_[i].rows;
  return result;
}

std::size_t request_queue::level_of(const batch& begun) const {
  auto level = priority_count;
  for (const auto& p : begun.pieces) level = std::min(level, static_cast<std::size_t>(p.owner->options().priority));
  if (config_.ageing.count() <= 0 || aged_ <= begun.enqueued) return level;
  return level - std::min(level, static_cast<std::size_t>((aged_ - begun.enqueued) / config_.ageing));
}

std::int64_t request_queue::rows_to_go(const batch& begun) const {
  const auto& p = begun.pieces.front();
  if (p.where != nullptr) return begun.rows();
  auto chunk = p.owner->chunks().at(p.chunk);
  return chunk.first_row + chunk.rows - p.first_row;
}

std::int64_t request_queue::rows_begun(priority p) const {
  std::int64_t result = 0;
  for (const auto* begun : {&again_, &bound_})
    for (const auto& b : *begun)
      if (level_of(b) <= static_cast<std::size_t>(p)) result += rows_to_go(b);
  return result;
}

std::int64_t request_queue::rows_before(priority p, const std::string& name) const {
  auto index = static_cast<std::size_t>(p);
  auto result = rows_begun(p);
  for (std::size_t i = 0; i < index; ++i) result += levels_[i].rows;
  const auto& l = levels_[index];
  auto found = l.by_name.find(name);
  auto own = found == l.by_name.end() ? 0 : found->second->rows;
  for (const auto& t : l.ring) result += t.name == name ? own : std::min(t.rows, own + config_.quantum);
  return result;
}

std::size_t request_queue::first_level() const {
  std::size_t i = 0;
  while (i < levels_.size() && levels_[i].rows == 0) ++i;
  return i;
}

const queue_entry& request_queue::first_entry() const { return levels_[first_level()].ring.front().entries.front(); }

bool request_queue::any_begun(priority p) const {
  const auto is_of_it = [&](const batch& b) { return level_of(b) == static_cast<std::size_t>(p); };
  return std::ranges::any_of(again_, is_of_it) || std::ranges::any_of(bound_, is_of_it);
}

std::optional<priority> request_queue::front_class() const {
  if (rows() == 0) return std::nullopt;
  return static_cast<priority>(first_level());
}

request_ptr request_queue::front() const { return rows() == 0 ? nullptr : first_entry().owner; }

clock::time_point request_queue::oldest() const {
  auto result = clock::time_point::max();
  for (const auto& l : levels_)
    for (const auto& t : l.ring) result = std::min(result, t.entries.front().enqueued);
  return result;
}

std::int64_t request_queue::rows_with(std::size_t level, const std::string& join_key) const {
  if (join_key.empty()) return levels_[level].plain_rows;
  auto found = keyed_.find(join_key);
  return found == keyed_.end() ? 0 : found->second[level];
}

std::int64_t request_queue::rows_with(const std::string& join_key) const {
  std::int64_t result = 0;
  for (std::size_t i = 0; i < levels_.size(); ++i) result += rows_with(i, join_key);
  return result;
}

request_queue::rows_apart request_queue::apart_from(const request& r) const {
  auto result = alone_rows_;
  auto add = [&result](std::int64_t executions, std::int64_t rows) {
    result.executions += executions;
    result.rows += rows;
  };
  add(short_keys_.executions, short_keys_.rows);
  if (!r.joinable() || !r.join_key().empty()) {
    const auto plain = rows_with("") % config_.quantum;
    add(plain > 0, plain);
  }
  if (r.joinable() && !r.join_key().empty()) {
    const auto own = rows_with(r.join_key()) % config_.quantum;
    add(-(own > 0), -own);
  }
  return result;
}

request_queue::joinable_rows request_queue::count_joinable(std::int64_t most) const {
  const auto& key = first_entry().owner->join_key();
  auto first = first_level();
  joinable_rows result;
  result.of_its_class = std::min(most, rows_with(first, key));
  for (auto i = first; i < levels_.size() && result.of_all < most; ++i)
    result.of_all = std::min(most, result.of_all + rows_with(i, key));
  return result;
}

bool request_queue::others_could_go() const {
  if (alone_ > 0) return true;
  const auto& key = first_entry().owner->join_key();
  std::int64_t plain = 0;
  if (!key.empty())
    for (const auto& l : levels_) plain += l.plain_rows;
  auto own = keyed_.find(key);
  auto is_full = own != keyed_.end() && all_of_key(own->second) >= config_.quantum;
  return plain >= config_.quantum || full_keys_ > static_cast<std::size_t>(is_full);
}

void request_queue::age(clock::time_point now) {
  aged_ = now;
  while (!rises_.empty() && rises_.begin()->first <= now) {
    auto* e = rises_.begin()->second;
    auto due = rises_.begin()->first;
    rises_.erase(rises_.begin());
    auto& from = levels_[e->level];
    auto& to = levels_[e->level - 1];
    auto& old_place = tenant_in(from, e->tenant);
    auto& new_place = tenant_in(to, e->tenant);
    auto& entries = new_place.entries;
    // From behind: whoever rises has waited for less than those that rose before.
    auto before = std::find_if(entries.rbegin(), entries.rend(), [e](auto& x) { return x.enqueued <= e->enqueued; });
    entries.splice(before.base(), old_place.entries, e->place);
    count(e->level, *e, -e->rows());
    count(e->level - 1, *e, e->rows());
    old_place.rows -= e->rows();
    new_place.rows += e->rows();
    --e->level;
    e->rise.reset();
    if (e->level > 0) e->rise = rises_.emplace(due + config_.ageing, e);
    if (old_place.entries.empty()) forget_tenant(from, old_place);
    settle(from);
    settle(to);
  }
}

// -- what goes --------------------------------------------------------------------------------------------------------

std::optional<std::pair<batch, std::size_t>> request_queue::take_again(
    priority p, const std::function<std::optional<std::size_t>(const batch&)>& accept) {
  for (auto* begun : {&again_, &bound_})
    for (auto i = begun->begin(); i != begun->end(); ++i) {
      if (level_of(*i) != static_cast<std::size_t>(p)) continue;
      auto core = accept(*i);
      if (!core) continue;
      auto b = std::move(*i);
      begun->erase(i);
      if (begun == &bound_) bind_rest(b.pieces.front(), b.enqueued, *core);
      return std::pair{std::move(b), *core};
    }
  return std::nullopt;
}

batch request_queue::take_joined(std::int64_t most) {
  auto key = first_entry().owner->join_key();
  batch result;
  result.enqueued = clock::time_point::max();
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    if (result.rows() < most) take_turns(i, key, most, result);
    settle(levels_[i]);
  }
  return result;
}

void request_queue::take_turns(std::size_t index, const std::string& join_key, std::int64_t most, batch& into) {
  auto& l = levels_[index];
  std::list<tenant> passed;  // what they have does not go with the batch: they keep their turn
  auto space = std::min(most - into.rows(), rows_with(index, join_key));
  while (space > 0 && !l.ring.empty()) {
    auto& t = l.ring.front();
    if (t.deficit <= 0) t.deficit += config_.quantum;
    if (t.deficit <= 0) {  // it took a large chunk before, and has its turn when that is made up for
      l.ring.splice(l.ring.end(), l.ring, l.ring.begin());
      continue;
    }
    auto taken = take_from(l, t, join_key, std::min(space, t.deficit), into);
    t.deficit -= taken;
    space -= taken;
    if (t.entries.empty())
      forget_tenant(l, t);
    else if (taken == 0)
      passed.splice(passed.end(), l.ring, l.ring.begin());
    else if (t.deficit <= 0 || space > 0)
      l.ring.splice(l.ring.end(), l.ring, l.ring.begin());
  }
  l.ring.splice(l.ring.begin(), passed);
}

std::int64_t request_queue::take_from(level& l, tenant& t, const std::string& join_key, std::int64_t most,
                                      batch& into) {
  std::int64_t taken = 0;
  for (auto e = t.entries.begin(); e != t.entries.end() && taken < most;) {
    if (!e->goes_with(join_key)) {
      ++e;
      continue;
    }
    auto rows = std::min(most - taken, e->rows());
    bool goes_on = !into.pieces.empty() && into.pieces.back().owner == e->owner;
    if (goes_on)
      into.pieces.back().rows += rows;
    else
      into.pieces.push_back({e->owner, e->next_row, rows, chunk_of(*e), nullptr, {}});
    into.enqueued = std::min(into.enqueued, e->enqueued);
    taken += rows;
    e = consume(t, e, rows);
  }
  return taken;
}

std::size_t request_queue::chunk_of(const queue_entry& e) {
  return static_cast<std::size_t>(e.next_row / e.owner->chunks().chunk_rows());
}

piece request_queue::next_piece(const queue_entry& e) {
  const auto& plan = e.owner->chunks();
  auto index = chunk_of(e);
  auto chunk = plan.at(index);
  return {e.owner, chunk.first_row, std::min(chunk.rows, plan.batch()), index, nullptr, {}};
}

std::int64_t request_queue::next_chunk_rows() const { return next_piece(first_entry()).rows; }

batch request_queue::take_chunk(std::size_t core) {
  auto& l = levels_[first_level()];
  auto e = l.ring.front().entries.begin();
  auto p = next_piece(*e);
  auto chunk = e->owner->chunks().at(p.chunk);
  batch result{{p}, e->enqueued, {}, {}};
  bind_rest(p, e->enqueued, core);
  take_at_once(l, e, chunk.rows);
  return result;
}

std::int64_t request_queue::front_rows() const { return first_entry().rows(); }

batch request_queue::take_front(std::int64_t rows) {
  auto& l = levels_[first_level()];
  auto e = l.ring.front().entries.begin();
  batch result{{{e->owner, e->next_row, rows, chunk_of(*e), nullptr, {}}}, e->enqueued, {}, {}};
  take_at_once(l, e, rows);
  return result;
}

void request_queue::take_at_once(level& l, entries::iterator e, std::int64_t rows) {
  auto& t = l.ring.front();
  t.deficit -= rows;
  consume(t, e, rows);
  if (t.entries.empty())
    forget_tenant(l, t);
  else if (t.deficit <= 0)
    l.ring.splice(l.ring.end(), l.ring, l.ring.begin());
  settle(l);
}

void request_queue::bind_rest(const piece& p, clock::time_point enqueued, std::size_t core) {
  auto chunk = p.owner->chunks().at(p.chunk);
  auto rest = chunk.first_row + chunk.rows - (p.first_row + p.rows);
  if (rest <= 0) return;
  auto remainder = p;
  remainder.first_row += p.rows;
  remainder.rows = std::min(rest, p.owner->chunks().batch());
  bound_.push_front({{std::move(remainder)}, enqueued, core, {}});
}

}  // namespace ganglion

// The books of a request queue: what waits, of whom, with which key, and whose turn it is.
#include "queue_entry.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>

namespace ganglion {

namespace {

/// How many executions so many rows take from the beginning of a chunk on.
std::int64_t executions_of(const chunk_plan& plan, std::int64_t rows) {
  auto of_chunk = [&plan](std::int64_t n) { return n / plan.batch() + (n % plan.batch() != 0); };
  return rows / plan.chunk_rows() * of_chunk(plan.chunk_rows()) + of_chunk(rows % plan.chunk_rows());
}

}  // namespace

request_queue::tenant& request_queue::tenant_in(level& l, const std::string& name) {
  auto found = l.by_name.find(name);
  if (found != l.by_name.end()) return *found->second;
  l.ring.push_back({name, 0, 0, {}});
  l.by_name.emplace(name, std::prev(l.ring.end()));
  return l.ring.back();
}

void request_queue::forget_tenant(level& l, tenant& t) {
  auto found = l.by_name.find(t.name);
  auto where = found->second;
  l.by_name.erase(found);
  l.ring.erase(where);
}

void request_queue::settle(level& l) const {
  if (l.ring.empty() || l.ring.front().deficit > 0) return;
  // Rounds in which nobody would have a turn go by at once.
  auto rounds = std::numeric_limits<std::int64_t>::max();
  for (const auto& t : l.ring) rounds = std::min(rounds, std::max<std::int64_t>(0, -t.deficit / config_.quantum));
  for (auto& t : l.ring) t.deficit += rounds * config_.quantum;
  while (l.ring.front().deficit <= 0) {
    auto& t = l.ring.front();
    t.deficit += config_.quantum;
    if (t.deficit > 0) return;
    l.ring.splice(l.ring.end(), l.ring, l.ring.begin());
  }
}

void request_queue::count(std::size_t level, const queue_entry& e, std::int64_t rows) {
  levels_[level].rows += rows;
  if (!e.owner->joinable()) {
    const auto executions = executions_of(e.owner->chunks(), std::abs(rows));
    alone_rows_.executions += rows < 0 ? -executions : executions;
    alone_rows_.rows += rows;
    return;
  }
  const auto& key = e.owner->join_key();
  if (key.empty()) {
    levels_[level].plain_rows += rows;
    return;
  }
  auto& of_key = keyed_[key];
  auto note = [this, &of_key](int sign) {
    const auto all = all_of_key(of_key), over = all % config_.quantum;
    full_keys_ += static_cast<std::size_t>(sign * (all >= config_.quantum));
    short_keys_.executions += sign * (over > 0);
    short_keys_.rows += sign * over;
    return all;
  };
  note(-1);
  of_key[level] += rows;
  const auto all = note(1);
  if (all == 0) keyed_.erase(key);
}

request_queue::entries::iterator request_queue::consume(tenant& t, entries::iterator e, std::int64_t rows) {
  count(e->level, *e, -rows);
  t.rows -= rows;
  e->next_row += rows;
  if (e->rows() > 0) return std::next(e);
  alone_ -= !e->owner->joinable();
  if (e->rise) rises_.erase(*e->rise);
  e->owner->waiting(nullptr);
  return t.entries.erase(e);
}

void request_queue::withdraw(const request_ptr& r) {
  if (auto* e = r->waiting()) {
    auto& l = levels_[e->level];
    auto& t = tenant_in(l, e->tenant);
    consume(t, e->place, e->rows());
    if (t.entries.empty()) forget_tenant(l, t);
    settle(l);
  }
  auto is_its = [&r](const piece& p) { return p.owner == r; };
  std::erase_if(bound_, [&](const batch& b) { return is_its(b.pieces.front()); });
  std::erase_if(again_, [&](batch& b) { return std::erase_if(b.pieces, is_its) > 0 && b.pieces.empty(); });
}

void request_queue::unbind(std::size_t core) {
  for (auto& b : bound_)
    if (b.bound == core) b.bound.reset();
}

}  // namespace ganglion

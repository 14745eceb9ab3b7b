#include <ganglion/actors/batcher/request_queue.hpp>

#include <algorithm>

namespace ganglion {

void request_queue::push(request_ptr r, clock::time_point now) { waiting_.push_back({std::move(r), 0, now}); }

piece request_queue::first_of_chunk(const entry& e) {
  const auto& plan = e.owner->chunks();
  auto chunk = plan.at(e.next_chunk);
  return {e.owner, chunk.first_row, std::min(chunk.rows, plan.batch()), e.next_chunk, e.enqueued, {}, nullptr, {}};
}

std::optional<std::pair<piece, std::size_t>> request_queue::take(
    const std::function<std::optional<std::size_t>(const piece&)>& accept) {
  for (auto i = retries_.begin(); i != retries_.end(); ++i) {
    auto core = accept(*i);
    if (!core) continue;
    auto p = std::move(*i);
    retries_.erase(i);
    return std::pair{std::move(p), *core};
  }
  auto bind_rest = [this](const piece& p, std::size_t core) {
    auto chunk = p.owner->chunks().at(p.chunk);
    auto rest = chunk.first_row + chunk.rows - (p.first_row + p.rows);
    if (rest <= 0) return;
    auto remainder = p;
    remainder.first_row += p.rows;
    remainder.rows = std::min(rest, p.owner->chunks().batch());
    remainder.bound = core;
    bound_.push_front(std::move(remainder));
  };
  for (auto i = bound_.begin(); i != bound_.end(); ++i) {
    auto core = accept(*i);
    if (!core) continue;
    auto p = std::move(*i);
    bound_.erase(i);
    bind_rest(p, *core);
    return std::pair{std::move(p), *core};
  }
  if (waiting_.empty()) return std::nullopt;
  auto& front = waiting_.front();
  auto p = first_of_chunk(front);
  auto core = accept(p);
  if (!core) return std::nullopt;
  if (++front.next_chunk == front.owner->chunks().size()) waiting_.pop_front();
  bind_rest(p, *core);
  return std::pair{std::move(p), *core};
}

std::vector<request_queue::withdrawn> request_queue::withdraw(const request* which) {
  std::vector<withdrawn> result;
  auto concerns = [which](const request_ptr& r) { return which == nullptr || r.get() == which; };
  std::erase_if(retries_, [&](const piece& p) {
    if (!concerns(p.owner)) return false;
    result.push_back({p.owner, p.rows, p.where});
    return true;
  });
  std::erase_if(bound_, [&](const piece& p) {
    if (!concerns(p.owner)) return false;
    auto chunk = p.owner->chunks().at(p.chunk);
    result.push_back({p.owner, chunk.first_row + chunk.rows - p.first_row, nullptr});
    return true;
  });
  std::erase_if(waiting_, [&](const entry& e) {
    if (!concerns(e.owner)) return false;
    result.push_back({e.owner, e.owner->rows() - e.owner->chunks().at(e.next_chunk).first_row, nullptr});
    return true;
  });
  return result;
}

request_ptr request_queue::find(std::uint64_t request_id) const {
  for (const auto& p : retries_)
    if (p.owner->id() == request_id) return p.owner;
  for (const auto& p : bound_)
    if (p.owner->id() == request_id) return p.owner;
  for (const auto& e : waiting_)
    if (e.owner->id() == request_id) return e.owner;
  return nullptr;
}

void request_queue::unbind(std::size_t core) {
  for (auto& p : bound_)
    if (p.bound == core) p.bound.reset();
}

}  // namespace ganglion

#include <ganglion/actors/batcher/formation.hpp>

#include <algorithm>

namespace ganglion {

namespace {

/// What an execution is taken to last while nothing was measured: long enough that a core takes no more than its fixed
/// number.
constexpr double unmeasured_seconds = 1;

}  // namespace

// -- what there is ----------------------------------------------------------------------------------------------------

void formation::add(std::shared_ptr<const deployment> d, std::optional<std::size_t> num_workers) {
  auto id = d->id;
  auto size = d->rule.compiled_size;
  const auto& options = d->coalescing;
  deployments_.insert_or_assign(id, deployment_state{d,
                                                     num_workers,
                                                     request_queue{{size, options.ageing}},
                                                     batch_cover{{size}, options.deterministic},
                                                     0,
                                                     0,
                                                     false,
                                                     {}});
}

bool formation::close(std::uint64_t deployment_id) {
  auto found = deployments_.find(deployment_id);
  if (found == deployments_.end()) return false;
  found->second.closing = true;
  return true;
}

std::vector<std::uint64_t> formation::take_closed() {
  std::vector<std::uint64_t> done;
  std::erase_if(deployments_, [&done](const auto& entry) {
    const auto& [id, d] = entry;
    if (!d.closing || !d.queue.empty() || d.in_flight > 0) return false;
    done.push_back(id);
    return true;
  });
  return done;
}

void formation::set_num_workers(std::uint64_t deployment_id, std::optional<std::size_t> num_workers) {
  if (auto found = deployments_.find(deployment_id); found != deployments_.end())
    found->second.num_workers = num_workers;
}

void formation::expect_seconds(std::uint64_t deployment_id, std::int64_t size, double seconds) {
  if (auto found = deployments_.find(deployment_id); found != deployments_.end())
    found->second.cover.measured(size, seconds);
}

void formation::core_up(std::size_t core) {
  lone_.reset();  // its share was of other cores
  cores_.up(core);
}

// -- what runs next ---------------------------------------------------------------------------------------------------

std::optional<assignment> formation::next(clock::time_point now) {
  std::vector<deployment_state*> order;
  for (auto& [id, d] : deployments_)
    if (!d.queue.empty()) order.push_back(&d);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) {
    auto x = a->queue.most_urgent(), y = b->queue.most_urgent();
    return x != y ? x < y : a->turn < b->turn;
  });
  for (auto* d : order)
    if (auto found = next_of(*d, now)) return found;
  return std::nullopt;
}

core_wish formation::wish_of(const deployment_state& d, std::int64_t size, bool full, const request* owner) const {
  core_wish wish;
  wish.cores = &d.target->cores;
  wish.deployment_id = d.target->id;
  wish.seconds = d.cover.seconds(size, unmeasured_seconds);
  wish.full = full;
  if (lone_ && owner != nullptr && lone_->id == owner->id())
    wish.also = [this, owner](std::size_t core) { return !has_its_share(*owner, core); };
  return wish;
}

std::optional<assignment> formation::next_of(deployment_state& d, clock::time_point now) {
  d.delayed_until.reset();
  if (d.num_workers && d.in_flight >= *d.num_workers) return std::nullopt;
  auto again = d.queue.take_again([&](const batch& b) {
    auto wish = wish_of(d, d.cover.largest(), true, b.pieces.front().owner.get());
    wish.bound = b.bound;
    wish.avoid = b.avoid;
    return cores_.pick(wish);
  });
  if (again) return bind(d, std::move(again->first), d.cover.largest(), again->second, now);
  auto front = d.queue.front();
  if (!front) return std::nullopt;
  if (front->joinable()) return next_joined(d, now);
  auto core = cores_.pick(wish_of(d, d.cover.largest(), true, front.get()));
  if (!core) return std::nullopt;
  return bind(d, d.queue.take_chunk(*core), d.cover.largest(), *core, now);
}

std::optional<assignment> formation::next_joined(deployment_state& d, clock::time_point now) {
  auto rows = d.queue.count_joinable(d.cover.largest());
  // The more urgent rows alone say which program runs; the less urgent ones fill what would be padding.
  auto size = d.cover.pick(rows.of_its_class);
  bool full = rows.of_all >= d.cover.largest();
  if (!full && d.target->coalescing.max_queue_delay.count() > 0 && !d.closing) {
    auto until = d.queue.oldest() + d.target->coalescing.max_queue_delay;
    if (now < until) {
      d.delayed_until = until;
      return std::nullopt;
    }
  }
  auto core = cores_.pick(wish_of(d, size, full, d.queue.front().get()));
  if (!core) return std::nullopt;
  return bind(d, d.queue.take_joined(size), size, *core, now);
}

assignment formation::bind(deployment_state& d, batch b, std::int64_t size, std::size_t core, clock::time_point now) {
  auto work = std::make_shared<execution>();
  work->id = ++last_execution_;
  work->deployment_id = d.target->id;
  work->model_id = d.target->model.id();
  work->batch = size;
  work->enqueued = b.enqueued;
  work->formed = now;
  std::int64_t offset = 0;
  for (auto& p : b.pieces) {
    if (p.where == nullptr) {
      p.where = &p.owner->add_slot(p.first_row, p.rows, p.chunk);
      p.owner->leave_queue(p.rows);
    }
    work->parts.push_back({p.owner, p.where, p.where->attempt(), offset, p.lost_before});
    offset += p.rows;
    if (lone_ && lone_->id == p.owner->id()) ++lone_->had[core];
  }
  auto seconds = d.cover.seconds(size, unmeasured_seconds);
  cores_.give(core, work, seconds, d.cover.seconds(size, 0));
  ++d.in_flight;
  d.turn += seconds;
  return {core, std::move(work)};
}

std::optional<clock::time_point> formation::due() const {
  std::optional<clock::time_point> result;
  auto earliest = [&result](clock::time_point t) { result = std::min(result.value_or(t), t); };
  if (!deadlines_.empty()) earliest(deadlines_.begin()->first);
  for (const auto& [id, d] : deployments_)
    if (d.delayed_until) earliest(*d.delayed_until);
  return result;
}

// -- who has how much -------------------------------------------------------------------------------------------------

bool formation::idle() const {
  for (const auto& [id, d] : deployments_)
    if (!d.queue.empty()) return false;
  return cores_.all_done();
}

void formation::share_evenly(const request& r, const deployment_state& d) {
  const auto& plan = r.chunks();
  if (plan.executions() != plan.size()) return;  // the executions of a chunk stay together
  auto cores = cores_.count_up(d.target->cores);
  if (cores > 0) lone_ = lone_request{r.id(), (plan.size() + cores - 1) / cores, {}};
}

bool formation::has_its_share(const request& r, std::size_t core) const {
  if (!lone_ || lone_->id != r.id()) return false;
  auto found = lone_->had.find(core);
  return found != lone_->had.end() && found->second >= lone_->share;
}

void formation::join_turns(deployment_state& d) const {
  // One that was idle starts level with those that were not, or with the last that was not: it neither pays nor is paid
  // for the time before.
  std::optional<double> least;
  double most = 0;
  for (const auto& [id, other] : deployments_) {
    if (&other == &d) continue;
    most = std::max(most, other.turn);
    if (!other.queue.empty() || other.in_flight > 0) least = std::min(least.value_or(other.turn), other.turn);
  }
  d.turn = std::max(d.turn, least.value_or(most));
}

}  // namespace ganglion

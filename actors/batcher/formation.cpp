#include <ganglion/actors/batcher/formation.hpp>

#include <algorithm>

namespace ganglion {

namespace {

/// What an execution is taken to last while nothing was measured: long enough that a core takes no more than its fixed
/// number.
constexpr double unmeasured_seconds = 1;

/// How long before a deadline a batch goes that takes so many seconds: what it takes, and half as much and a little
/// more for all that is not measured.
std::chrono::nanoseconds time_to_spare(double seconds) {
  constexpr auto a_little = std::chrono::milliseconds(2);
  return a_little + std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(1.5 * seconds));
}

/// How often the program must run for so many rows: more than once only where they are whole batches.
std::int64_t forwards_of(std::int64_t rows, std::int64_t size) { return std::max<std::int64_t>(1, rows / size); }

}  // namespace

// -- what there is ----------------------------------------------------------------------------------------------------

void formation::add(std::shared_ptr<const deployment> d, std::optional<std::size_t> num_workers,
                    const std::vector<std::size_t>& loading) {
  auto id = d->id;
  const auto& options = d->coalescing;
  auto cores = d->cores;
  for (auto core : loading) std::erase(cores, core);
  auto group = cores_.open_group(cores);
  deployment_state state{d, std::move(cores), group, num_workers, {}, 0, false, {}, {}};
  for (const auto& b : d->programs.buckets)
    state.buckets.push_back({state.buckets.size(), request_queue{{b.sizes.back(), options.ageing}},
                             batch_cover{b.sizes, options.deterministic}, 0, 0, {}, {}});
  deployments_.insert_or_assign(id, std::move(state));
}

void formation::model_on_core(std::uint64_t deployment_id, std::size_t core) {
  auto found = deployments_.find(deployment_id);
  if (found == deployments_.end()) return;
  auto& d = found->second;
  end_sharing();  // its share was of other cores
  if (d.cores.empty())
    for (auto& b : d.buckets) join_turns(b);
  d.cores.push_back(core);
  // they are taken in the order given, whichever had the model first
  std::ranges::sort(d.cores, {}, [&](std::size_t c) { return std::ranges::find(d.target->cores, c); });
  cores_.close_group(d.group);
  d.group = cores_.open_group(d.cores);
}

void formation::fail_deployment(std::uint64_t deployment_id, const failure& reason) {
  auto found = deployments_.find(deployment_id);
  if (found == deployments_.end()) return;
  found->second.failed = reason;
  fail_all_of(found->second, reason);
}

bool formation::close(std::uint64_t deployment_id) {
  auto found = deployments_.find(deployment_id);
  if (found == deployments_.end()) return false;
  found->second.closing = true;
  return true;
}

std::vector<std::uint64_t> formation::take_closed() {
  std::vector<std::uint64_t> done;
  std::erase_if(deployments_, [&done, this](const auto& entry) {
    const auto& [id, d] = entry;
    auto waits = [](const bucket_state& b) { return !b.queue.empty(); };
    if (!d.closing || d.in_flight > 0 || std::any_of(d.buckets.begin(), d.buckets.end(), waits)) return false;
    cores_.close_group(d.group);
    done.push_back(id);
    return true;
  });
  return done;
}

void formation::set_num_workers(std::uint64_t deployment_id, std::optional<std::size_t> num_workers) {
  if (auto found = deployments_.find(deployment_id); found != deployments_.end())
    found->second.num_workers = num_workers;
}

void formation::expect_seconds(std::uint64_t deployment_id, std::size_t program, double seconds) {
  auto found = deployments_.find(deployment_id);
  if (found == deployments_.end()) return;
  for (auto& b : found->second.buckets) {
    const auto& programs = found->second.target->programs.buckets[b.index];
    for (std::size_t i = 0; i < programs.sizes.size(); ++i)
      if (programs.programs[i] == program) b.cover.measured(programs.sizes[i], seconds);
  }
}

void formation::expect_places(std::uint64_t deployment_id, bool alike) {
  auto found = deployments_.find(deployment_id);
  if (found == deployments_.end()) return;
  auto& known = found->second.places_are_alike;
  known = known.value_or(true) && alike;
}

void formation::core_up(std::size_t core) {
  end_sharing();  // its share was of other cores
  cores_.up(core);
}

// -- what runs next ---------------------------------------------------------------------------------------------------

std::optional<assignment> formation::next(clock::time_point now) {
  struct candidate {
    deployment_state* of;
    bucket_state* bucket;
    bool begun;
    priority urgency;
  };
  std::vector<candidate> order;
  for (auto& [id, d] : deployments_)
    for (auto& b : d.buckets) {
      b.delayed_until.reset();
      if (!d.has_work(b) || (d.num_workers && d.in_flight >= *d.num_workers)) continue;
      const auto fresh = b.queue.front_class();
      for (auto p : {priority::high, priority::normal, priority::low})
        if (p <= fresh.value_or(p) && b.queue.any_begun(p)) order.push_back({&d, &b, true, p});
      if (fresh) order.push_back({&d, &b, false, *fresh});
    }
  std::ranges::stable_sort(order, [](const candidate& x, const candidate& y) {
    return x.urgency != y.urgency ? x.urgency < y.urgency : x.bucket->turn < y.bucket->turn;
  });
  lacking_ = {};
  awaited_ = {};
  for (std::size_t i = 0; i < order.size(); ++i) {
    auto [d, b, begun, urgency] = order[i];
    if (i > 0 && urgency != order[i - 1].urgency) awaited_ = lacking_;
    if (auto found = begun ? next_begun(*d, *b, urgency, now) : next_fresh(*d, *b, now)) return found;
  }
  return std::nullopt;
}

std::optional<std::size_t> formation::pick(core_wish wish) {
  wish.awaited = &awaited_;
  auto core = cores_.pick(wish);
  if (core) return core;
  if (wish.bound) {
    lacking_.cores.insert(*wish.bound);
  } else if (!wish.avoid) {
    lacking_.groups.insert(wish.group);
  } else {
    for (auto other : cores_.cores_of(wish.group))
      if (other != *wish.avoid) lacking_.cores.insert(other);
  }
  return std::nullopt;
}

core_wish formation::wish_of(const deployment_state& d, const bucket_state& b, std::int64_t size, bool full) {
  core_wish wish;
  wish.group = d.group;
  wish.deployment_id = d.target->id;
  wish.bucket = b.index;
  wish.seconds = b.cover.seconds(size, unmeasured_seconds);
  wish.full = full;
  return wish;
}

namespace {

/// The rows that an execution of a request has. Without dynamic batching rows run in the size that they are exactly
/// (S13).
std::int64_t size_for(const request& r, std::int64_t rows, const batch_cover& cover) {
  return r.dynamic_batching() ? cover.fit(std::min(rows, cover.largest())) : r.chunks().batch();
}

}  // namespace

std::optional<assignment> formation::next_begun(deployment_state& d, bucket_state& b, priority p,
                                                clock::time_point now) {
  std::int64_t size = 0;
  auto again = b.queue.take_again(p, [&](const batch& rows) {
    size = size_for(*rows.pieces.front().owner, rows.rows(), b.cover);
    auto wish = wish_of(d, b, size, true);
    wish.seconds *= static_cast<double>(forwards_of(rows.rows(), size));
    wish.bound = rows.bound;
    wish.avoid = rows.avoid;
    return pick(wish);
  });
  if (!again) return std::nullopt;
  return bind(d, b, std::move(again->first), size, again->second, now);
}

std::optional<assignment> formation::next_fresh(deployment_state& d, bucket_state& b, clock::time_point now) {
  auto front = b.queue.front();
  if (front->joinable()) return next_joined(d, b, now);
  auto size = size_for(*front, b.queue.next_chunk_rows(), b.cover);
  auto core = pick(wish_of(d, b, size, true));
  if (!core) return std::nullopt;
  return bind(d, b, b.queue.take_chunk(*core), size, *core, now);
}

std::optional<assignment> formation::next_joined(deployment_state& d, bucket_state& b, clock::time_point now) {
  auto rows = b.queue.count_joinable(b.cover.largest());
  // The more urgent rows alone say which program runs; the less urgent ones fill what would be padding.
  auto size = b.cover.pick(rows.of_its_class);
  bool full = rows.of_all >= b.cover.largest();
  // No core is kept waiting for the rows of one batch while others could run.
  bool more_may_come = !d.closing && !admission_closed_ && !b.queue.others_could_go();
  if (!full && d.target->coalescing.max_queue_delay.count() > 0 && more_may_come) {
    auto until = b.queue.oldest() + d.target->coalescing.max_queue_delay;
    if (!b.deadlines.empty()) until = std::min(until, *b.deadlines.begin() - time_to_spare(b.cover.seconds(size, 0)));
    if (now < until) {
      b.delayed_until = until;
      return std::nullopt;
    }
  }
  auto core = pick(wish_of(d, b, size, full));
  if (!core) return std::nullopt;
  auto forwards = size == b.cover.largest() ? forwards_for(d, b, *core) : 1;
  return bind(d, b, forwards > 1 ? b.queue.take_front(forwards * size) : b.queue.take_joined(size), size, *core, now);
}

/// How many full batches of the front's rows go to a core together. Where nothing else is there, a core's share of them
/// in as few equal parts as may be: with each report a core's thread is interrupted by the batcher's. Else at most half
/// of an even share of what is left, so that the cores end at the same time.
std::int64_t formation::forwards_for(const deployment_state& d, const bucket_state& b, std::size_t core) {
  const auto size = b.cover.largest();
  const auto seconds = b.cover.seconds(size, 0);
  const auto front = b.queue.front();
  const auto& credits = limits_.credits;
  if (seconds <= 0 || seconds > credits.least_together || front->padded()) return 1;
  const auto waiting = b.queue.front_rows();
  const bool alone = lone_ && lone_->id == front->id();
  const auto share = (alone ? lone_->share : waiting / static_cast<std::int64_t>(cores_.count_up(d.group))) / size;
  if (share < 4) return 1;
  auto worth = [&](double together) { return static_cast<std::int64_t>(together / seconds); };
  if (!alone)
    return std::min(std::clamp(share / 2, worth(credits.least_together), worth(credits.most_together)), waiting / size);
  // Two of the longest are what a core takes ahead.
  const auto most = 2 * worth(credits.most_together), parts = (share + most - 1) / most;
  return std::min((share + parts - 1) / parts, std::min(waiting, lone_->share - lone_->had[core]) / size);
}

assignment formation::bind(deployment_state& d, bucket_state& b, batch rows, std::int64_t size, std::size_t core,
                           clock::time_point now) {
  auto work = std::make_shared<execution>();
  work->id = ++last_execution_;
  work->deployment_id = d.target->id;
  work->model_id = d.target->model.id();
  work->program = d.target->programs.buckets[b.index].program_of(size);
  work->batch = size;
  work->forwards = forwards_of(rows.rows(), size);
  work->enqueued = rows.enqueued;
  work->formed = now;
  std::int64_t offset = 0;
  for (auto& p : rows.pieces) {
    if (p.where == nullptr) {
      p.where = &p.owner->add_slot(p.first_row, p.rows, p.chunk);
      p.owner->leave_queue(p.rows);
      if (p.owner->options().deadline && p.owner->waiting() == nullptr)
        if (auto live = live_.find(p.owner->id()); live != live_.end() && live->second.waits_until)
          waits_no_more(live->second);
    }
    work->parts.push_back({p.owner, p.where, p.where->attempt(), offset, p.losses});
    offset += p.rows;
    if (lone_ && lone_->id == p.owner->id() && (lone_->had[core] += p.rows) >= lone_->share) cores_.hold_back(core);
  }
  for (const auto& waits : d.buckets) work->queued_rows += waits.queue.rows();
  const auto forwards = static_cast<double>(work->forwards);
  auto seconds = forwards * b.cover.seconds(size, unmeasured_seconds);
  cores_.give(core, work, seconds, forwards * b.cover.seconds(size, 0), now);
  ++d.in_flight;
  ++b.in_flight;
  b.turn += seconds;
  return {core, std::move(work)};
}

std::optional<clock::time_point> formation::due() const {
  std::optional<clock::time_point> result;
  auto earliest = [&result](clock::time_point t) { result = std::min(result.value_or(t), t); };
  if (!deadlines_.empty()) earliest(deadlines_.begin()->first);
  for (const auto& [id, d] : deployments_)
    for (const auto& b : d.buckets)
      // What waited for its delay may be gone.
      if (b.delayed_until && d.has_work(b)) earliest(*b.delayed_until);
  return result;
}

// -- who has how much -------------------------------------------------------------------------------------------------

bool formation::idle() const {
  for (const auto& [id, d] : deployments_)
    for (const auto& b : d.buckets)
      if (d.has_work(b)) return false;
  return cores_.all_done();
}

void formation::share_evenly(const request& r, const deployment_state& d) {
  const auto& plan = r.chunks();
  if (plan.executions() != plan.size()) return;  // the executions of a chunk stay together
  auto cores = cores_.count_up(d.group);
  if (cores == 0) return;
  auto chunks = static_cast<std::int64_t>((plan.size() + cores - 1) / cores);
  lone_ = lone_request{r.id(), chunks * plan.chunk_rows(), {}};
}

void formation::end_sharing() {
  lone_.reset();
  cores_.release();
}

void formation::join_turns(bucket_state& joins) const {
  // One that was idle starts level with those that were not, or with the last that was not: it neither pays nor is paid
  // for the time before.
  std::optional<double> least;
  double most = 0;
  for (const auto& [id, d] : deployments_)
    for (const auto& b : d.buckets) {
      if (&b == &joins) continue;
      most = std::max(most, b.turn);
      if (d.has_work(b) || b.in_flight > 0) least = std::min(least.value_or(b.turn), b.turn);
    }
  joins.turn = std::max(joins.turn, least.value_or(most));
}

}  // namespace ganglion

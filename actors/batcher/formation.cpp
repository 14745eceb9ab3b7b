#include <ganglion/actors/batcher/formation.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace ganglion {

namespace {

failure lost(std::string what, const slot* where, std::size_t core) {
  failure f{errc::core_lost, std::move(what)};
  if (where != nullptr) {
    f.first_row = where->first_row();
    f.last_row = where->first_row() + where->rows();
  }
  f.core = static_cast<std::int32_t>(core);
  return f;
}

const failure all_cores_lost{errc::core_lost,
                             "all cores of this model are lost and none has come back: try again later"};

}  // namespace

// -- what there is ----------------------------------------------------------------------------------------------------

void formation::add(std::shared_ptr<const deployment> d, std::optional<std::size_t> num_workers) {
  auto id = d->id;
  auto& state = deployments_[id];
  state.target = std::move(d);
  state.num_workers = num_workers;
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

void formation::expect_seconds(std::uint64_t model_id, double seconds) { seconds_.try_emplace(model_id).first->second.add(seconds); }

double formation::expected_seconds(std::uint64_t model_id) const {
  auto found = seconds_.find(model_id);
  return found == seconds_.end() ? 1.0 : found->second.value_or(1.0);
}

void formation::core_up(std::size_t core) {
  auto& state = cores_[core];
  state.up = true;
  state.lost = false;
  lone_.reset();  // its share was of other cores
  state.account = credit_account{credits_};
}

void formation::core_down(std::size_t core, bool returns) {
  auto& state = cores_[core];
  lone_.reset();
  state.up = false;
  state.lost = !returns;
  state.account = credit_account{credits_};
  state.expected.clear();
  for (auto& [id, d] : deployments_) d.queue.unbind(core);
  auto held = std::move(state.in_flight);
  state.in_flight.clear();
  for (auto& [id, work] : held) {
    auto found = deployments_.find(work->deployment_id);
    auto* d = found == deployments_.end() ? nullptr : &found->second;
    if (d != nullptr) --d->in_flight;
    for (const auto& p : work->parts) take_back(p, *work, core, d);
  }
  for (auto& [id, d] : deployments_)
    if (all_lost(d)) fail_queue(d, all_cores_lost);
}

bool formation::all_lost(const deployment_state& d) const {
  return std::all_of(d.target->cores.begin(), d.target->cores.end(), [this](std::size_t core) {
    auto found = cores_.find(core);
    return found != cores_.end() && found->second.lost;
  });
}

// -- requests ---------------------------------------------------------------------------------------------------------

void formation::enqueue(request_ptr r, clock::time_point now) {
  auto found = deployments_.find(r->target().id);
  if (found == deployments_.end() || found->second.closing) {
    r->refuse({errc::draining, "the model was removed from the engine before the request came"});
    return;
  }
  auto& d = found->second;
  if (!r->dynamic_batching()) {
    const auto& rule = r->target().rule;
    if (auto fits = check_compile_batch(r->rows(), r->target().cores.size(), rule.compiled_size, rule.dim); !fits) {
      r->refuse(fits.error());
      return;
    }
  }
  if (all_lost(d)) {
    r->refuse(all_cores_lost);
    return;
  }
  lone_.reset();
  if (idle()) share_evenly(*r, d);
  if (d.queue.empty()) join_turns(d);
  d.queue.push(std::move(r), now);
}

bool formation::idle() const {
  for (const auto& [id, d] : deployments_)
    if (!d.queue.empty()) return false;
  // The latest first: under load it is the one that has not run.
  for (const auto& [index, core] : cores_)
    for (auto held = core.in_flight.rbegin(); held != core.in_flight.rend(); ++held)
      for (const auto& p : held->second->parts)
        if (!p.where->done()) return false;
  return true;
}

void formation::share_evenly(const request& r, const deployment_state& d) {
  const auto& plan = r.chunks();
  if (plan.executions() != plan.size()) return;  // the executions of a chunk stay together
  auto up = std::count_if(d.target->cores.begin(), d.target->cores.end(), [this](std::size_t core) {
    auto found = cores_.find(core);
    return found != cores_.end() && found->second.up;
  });
  auto cores = static_cast<std::size_t>(up);
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

void formation::cancel(std::uint64_t deployment_id, std::uint64_t request_id, failure f) {
  auto found = deployments_.find(deployment_id);
  if (found == deployments_.end()) return;
  auto r = found->second.queue.find(request_id);
  for (auto& [index, core] : cores_)
    for (auto& [id, work] : core.in_flight)
      for (const auto& p : work->parts)
        if (p.owner->id() == request_id && work->deployment_id == deployment_id) r = p.owner;
  if (!r) return;
  r->answer().fail(std::move(f));
  drop_request(r);
}

void formation::resolve(const std::vector<request_queue::withdrawn>& rows) {
  for (const auto& w : rows) {
    if (w.where != nullptr) {
      w.owner->answer().drop(*w.where);
    } else {
      w.owner->leave_queue(w.rows);
      w.owner->answer().drop_rows(w.rows);
    }
  }
}

void formation::drop_in_flight() {
  for (auto& [index, core] : cores_)
    for (auto& [id, work] : core.in_flight)
      for (const auto& p : work->parts)
        if (p.owner->answer().failed()) p.owner->answer().drop(*p.where);
}

void formation::drop_request(const request_ptr& r) {
  if (auto found = deployments_.find(r->target().id); found != deployments_.end())
    resolve(found->second.queue.withdraw(r.get()));
  drop_in_flight();
}

void formation::fail_queue(deployment_state& d, const failure& f) {
  auto rows = d.queue.withdraw(nullptr);
  // The failure is known before the first row is dropped: whoever resolves the last row answers with it.
  for (const auto& w : rows) w.owner->answer().fail(f);
  resolve(rows);
  drop_in_flight();
}

void formation::fail_all(const failure& f) {
  for (auto& [index, core] : cores_)
    for (auto& [id, work] : core.in_flight)
      for (const auto& p : work->parts) p.owner->answer().fail(f);
  for (auto& [id, d] : deployments_) fail_queue(d, f);
  drop_in_flight();
}

// -- executions -------------------------------------------------------------------------------------------------------

std::optional<assignment> formation::next(clock::time_point now) {
  std::vector<deployment_state*> order;
  for (auto& [id, d] : deployments_)
    if (!d.queue.empty()) order.push_back(&d);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->turn < b->turn; });
  for (auto* d : order)
    if (auto found = next_of(*d, now)) return found;
  return std::nullopt;
}

std::optional<std::size_t> formation::pick_core(const deployment_state& d, const piece& p) const {
  auto seconds = expected_seconds(d.target->model.id());
  std::optional<std::size_t> best;
  const core_state* best_state = nullptr;
  bool other_alive = std::any_of(d.target->cores.begin(), d.target->cores.end(), [&](std::size_t core) {
    auto found = cores_.find(core);
    return found != cores_.end() && found->second.up && p.avoid != core;
  });
  for (auto core : d.target->cores) {
    if (p.bound && *p.bound != core) continue;
    if (p.avoid == core && other_alive) continue;
    if (has_its_share(*p.owner, core)) continue;
    auto found = cores_.find(core);
    if (found == cores_.end() || !found->second.up || !found->second.account.accepts(seconds)) continue;
    const auto& account = found->second.account;
    if (best_state == nullptr || account.executions() < best_state->account.executions()) {
      best = core;
      best_state = &found->second;
    }
  }
  return best;
}

std::optional<assignment> formation::next_of(deployment_state& d, clock::time_point now) {
  if (d.num_workers && d.in_flight >= *d.num_workers) return std::nullopt;
  auto taken = d.queue.take([&](const piece& p) { return pick_core(d, p); });
  if (!taken) return std::nullopt;
  auto& [p, core] = *taken;
  auto work = std::make_shared<execution>();
  work->id = ++last_execution_;
  work->deployment_id = d.target->id;
  work->model_id = d.target->model.id();
  work->batch = d.target->rule.compiled_size;
  work->enqueued = p.enqueued;
  work->formed = now;
  if (p.where == nullptr) {
    p.where = &p.owner->add_slot(p.first_row, p.rows, p.chunk);
    p.owner->leave_queue(p.rows);
  }
  work->parts.push_back({p.owner, p.where, p.where->attempt(), 0});

  auto seconds = expected_seconds(work->model_id);
  auto& state = cores_[core];
  state.account.take(seconds);
  state.in_flight.emplace(work->id, work);
  state.expected.emplace(work->id, seconds);
  ++d.in_flight;
  d.turn += seconds;
  if (lone_ && lone_->id == p.owner->id()) ++lone_->had[core];
  return assignment{core, std::move(work)};
}

void formation::finished(std::size_t core, const execution_report& report) {
  auto& state = cores_[core];
  auto held = state.in_flight.find(report.work->id);
  if (held == state.in_flight.end()) return;  // taken back when its core went down
  auto work = held->second;
  auto expected = state.expected[work->id];
  state.account.give_back(expected);
  state.expected.erase(work->id);
  state.in_flight.erase(held);
  if (auto found = deployments_.find(work->deployment_id); found != deployments_.end()) {
    --found->second.in_flight;
    if (report.ran) found->second.turn += report.compute_seconds() - expected;
  }
  if (report.ran) expect_seconds(work->model_id, report.compute_seconds());
  for (const auto& p : work->parts) {
    if (report.error.code != errc::ok) {
      p.owner->answer().fail(report.error);
      p.owner->answer().drop(*p.where);
    }
    // One chunk that failed, or could not be gathered, ends its whole request (S24) and nobody else's.
    if (p.owner->answer().failed()) drop_request(p.owner);
  }
}

void formation::take_back(const part& p, const execution& work, std::size_t core, deployment_state* d) {
  bool first_time = p.attempt == 0;
  bool elsewhere = d != nullptr && std::any_of(d->target->cores.begin(), d->target->cores.end(), [&](std::size_t other) {
    auto found = cores_.find(other);
    return other != core && found != cores_.end() && found->second.up;
  });
  if (first_time && elsewhere && !p.owner->answer().failed()) {
    if (p.where->retry())
      d->queue.push_retry({p.owner, p.where->first_row(), p.where->rows(), p.where->chunk(), work.enqueued, {}, p.where,
                           core});
    return;
  }
  // Rows that the lane committed, or still commits, are not lost, whatever became of its report.
  if (!p.where->drop()) return;
  auto why = first_time ? "and no other core can take them" : "after they had been tried once before";
  p.owner->answer().fail(lost(fmt::format("core nc:{} was lost while it held rows {} to {}, {}: send the request again",
                                          core, p.where->first_row(), p.where->first_row() + p.where->rows() - 1, why),
                              p.where, core));
  p.owner->answer().drop_rows(p.where->rows());
  drop_request(p.owner);
}

std::size_t formation::executions_in_flight() const {
  std::size_t count = 0;
  for (const auto& [index, core] : cores_) count += core.in_flight.size();
  return count;
}

}  // namespace ganglion

#include <ganglion/actors/batcher/formation.hpp>

#include "coordinator/rows_text.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ganglion {

namespace {

failure lost(std::string_view why, const slot& where, std::size_t core) {
  return {errc::core_lost,
          fmt::format("core nc:{} was lost while it held {}, {}: send the request again", core,
                      rows_text(where.first_row(), where.rows()), why),
          where.first_row(), where.first_row() + where.rows(), static_cast<std::int32_t>(core)};
}

/// So many cores may be lost with rows that only waited in their lanes.
constexpr int most_losses = 8;

const failure all_cores_lost{errc::core_lost,
                             "all cores of this model are lost and none has come back: try again later"};

double milliseconds(std::chrono::nanoseconds t) { return std::chrono::duration<double, std::milli>(t).count(); }

std::chrono::nanoseconds nanoseconds(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
}

}  // namespace

// -- what is accepted -------------------------------------------------------------------------------------------------

std::optional<failure> formation::refusal(const request& r, const deployment_state& d, clock::time_point now) const {
  if (r.is_cancelled()) return cancelled_by_caller();
  if (!r.dynamic_batching()) {
    const auto& sizes = r.target().programs.buckets[r.bucket()].sizes;
    auto fits = check_compile_batch(r.rows(), r.target().cores.size(), sizes, r.target().rule().dim);
    if (!fits) return fits.error();
  }
  if (cores_.all_lost(d.target->cores)) return all_cores_lost;
  const auto& deadline = r.options().deadline;
  if (!deadline && !limits_.max_queue_time) return std::nullopt;
  const auto times = expectation_of(d, r, now);
  const auto wait = nanoseconds(times.wait);
  if (deadline) {
    if (*deadline <= now) return past_deadline();
    auto needed = wait + nanoseconds(times.run);
    if (now + needed > *deadline)
      return failure{
          errc::deadline_exceeded,
          fmt::format("the request has {:.3g} ms left, but {:.3g} ms of waiting and execution are expected: give it "
                      "more time, or send less",
                      milliseconds(*deadline - now), milliseconds(needed))};
  }
  if (limits_.max_queue_time && wait > *limits_.max_queue_time)
    return failure{errc::queue_full,
                   fmt::format("a wait of {:.3g} ms is expected, which passes max_queue_time = {:.3g} ms: try "
                               "again later",
                               milliseconds(wait), milliseconds(*limits_.max_queue_time))};
  return std::nullopt;
}

void formation::enqueue(request_ptr r, clock::time_point now) {
  auto found = deployments_.find(r->target().id);
  if (found == deployments_.end() || found->second.closing) {
    r->refuse({errc::draining, "the model was removed from the engine before the request came"});
    return;
  }
  auto& d = found->second;
  if (d.failed) {
    r->refuse(*d.failed);
    return;
  }
  if (d.target->coalescing.deterministic && !d.places_are_alike.value_or(false)) r->keep_apart();
  auto& b = d.buckets[r->bucket()];
  if (auto why_not = refusal(*r, d, now)) {
    // Where nothing runs nothing is measured: an estimate that turns everybody away would last for ever.
    if (d.in_flight == 0 && r->options().deadline.value_or(now) > now) b.cover.doubt();
    r->refuse(std::move(*why_not));
    return;
  }
  end_sharing();
  if (idle()) share_evenly(*r, d);
  if (b.queue.empty()) join_turns(b);
  auto& live = live_[r->id()];
  live.value = r;
  if (const auto& deadline = r->options().deadline) {
    live.deadline = deadlines_.emplace(*deadline, r->id());
    live.waits_until = b.deadlines.insert(*deadline);
  }
  b.queue.push(std::move(r), now);
}

// -- how it ends ------------------------------------------------------------------------------------------------------

void formation::cancel(std::uint64_t request_id, failure f) {
  if (auto found = live_.find(request_id); found != live_.end()) end(request_ptr{found->second.value}, std::move(f));
}

void formation::advance(clock::time_point now) {
  forget_unreported();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    auto id = deadlines_.begin()->second;
    live_.at(id).deadline.reset();
    deadlines_.erase(deadlines_.begin());
    end(request_ptr{live_.at(id).value}, past_deadline());
  }
  for (auto& [id, d] : deployments_)
    for (auto& b : d.buckets) b.queue.age(now);
}

void formation::end(const request_ptr& r, failure f) {
  r->answer().fail(std::move(f));
  drop(r);
}

void formation::drop(const request_ptr& r) {
  if (auto found = deployments_.find(r->target().id); found != deployments_.end())
    found->second.buckets[r->bucket()].queue.withdraw(r);
  r->drop_all();
  forget(*r);
}

void formation::forget(const request& r) {
  auto node = live_.extract(r.id());
  if (!node) return;
  auto& live = node.mapped();
  if (live.deadline) deadlines_.erase(*live.deadline);
  if (live.waits_until) waits_no_more(live);
}

void formation::waits_no_more(live_request& live) {
  auto& target = deployments_.at(live.value->target().id);
  target.buckets[live.value->bucket()].deadlines.erase(*live.waits_until);
  live.waits_until.reset();
}

void formation::forget_unreported() {
  std::erase_if(unreported_, [this](const request_ptr& r) {
    if (!r->answer().delivered()) return false;
    forget(*r);
    return true;
  });
}

void formation::fail_all_of(const deployment_state& d, const failure& f) {
  std::vector<request_ptr> all;
  for (const auto& [id, live] : live_)
    if (live.value->target().id == d.target->id) all.push_back(live.value);
  for (const auto& r : all) end(r, f);
}

void formation::fail_all(const failure& f) {
  for (const auto& [id, d] : deployments_) fail_all_of(d, f);
}

// -- executions that ended --------------------------------------------------------------------------------------------

void formation::finished(std::size_t core, const execution_report& report, clock::time_point now) {
  auto held = cores_.take(core, report.work->id, now);
  if (!held) return;  // taken back when its core went down
  auto& [work, expected] = *held;
  auto& d = deployments_.at(work->deployment_id);
  auto& b = d.buckets[work->parts.front().owner->bucket()];
  --d.in_flight;
  --b.in_flight;
  if (report.ran) {
    b.turn += report.compute_seconds() - expected;
    // One that failed may have ended early.
    if (report.error.code == errc::ok) b.cover.measured(work->batch, report.seconds_a_forward());
  }
  bool shared = std::any_of(work->parts.begin(), work->parts.end(),
                            [&work = work](const part& p) { return p.owner != work->parts.front().owner; });
  if (report.error.code != errc::ok && shared) run_apart(work, b);
  for (const auto& p : work->parts) {
    if (report.error.code != errc::ok && !shared) p.owner->answer().fail(report.error);
    // One chunk that failed, or could not be gathered, ends its whole request (S24) and nobody else's.
    if (p.owner->answer().failed())
      drop(p.owner);
    else if (p.owner->answer().delivered())
      forget(*p.owner);
  }
}

void formation::run_apart(const execution_ptr& work, bucket_state& b) {
  // By halves, so that many innocent neighbours of one bad request run few times.
  auto half = work->parts.size() / 2;
  batch halves[2];
  for (std::size_t i = 0; i < work->parts.size(); ++i) {
    const auto& p = work->parts[i];
    if (p.owner->answer().failed() || !p.where->retry()) continue;
    halves[i < half ? 0 : 1].pieces.push_back(
        {p.owner, p.where->first_row(), p.where->rows(), p.where->chunk(), p.where, p.losses});
  }
  for (auto& rows : halves) {
    rows.enqueued = work->enqueued;
    if (!rows.pieces.empty()) b.queue.push_again(std::move(rows));
  }
}

std::vector<execution_ptr> formation::core_down(std::size_t core, bool returns) {
  std::vector<execution_ptr> ran;
  end_sharing();
  for (auto& [id, d] : deployments_)
    for (auto& b : d.buckets) b.queue.unbind(core);
  for (const auto& work : cores_.down(core, returns)) {
    auto& d = deployments_.at(work->deployment_id);
    --d.in_flight;
    --d.buckets[work->parts.front().owner->bucket()].in_flight;
    if (std::ranges::any_of(work->parts, [](const part& p) { return p.where->is_running(); })) ran.push_back(work);
    take_back(work, core, d);
  }
  for (auto& [id, d] : deployments_)
    if (cores_.all_lost(d.target->cores)) fail_all_of(d, all_cores_lost);
  forget_unreported();
  return ran;
}

void formation::take_back(const execution_ptr& work, std::size_t core, deployment_state& d) {
  bool elsewhere = cores_.any_up_beside(d.target->cores, core);
  auto& queue = d.buckets[work->parts.front().owner->bucket()].queue;
  // What only waited in the lane had no part in its end: it goes together again, wherever there is a core for it. What
  // ran may be the reason: each request goes by itself, so that only that one takes a second core with it.
  batch waited{{}, work->enqueued, {}, {}};
  std::map<std::uint64_t, batch> ran;
  for (const auto& p : work->parts) {
    // The lane may have failed a request, or answered it, and its report of that is lost with the core.
    if (p.owner->answer().failed()) {
      drop(p.owner);
      continue;
    }
    if (p.where->is_settled()) {
      unreported_.push_back(p.owner);
      continue;
    }
    bool running = p.where->is_running();
    auto losses = p.losses;
    bool again = ++losses.held < most_losses && !(running && (losses.running || !elsewhere));
    if (!again) {
      end(p.owner,
          lost(running && !losses.running ? "and no other core can take them" : "after it had been tried before",
               *p.where, core));
      continue;
    }
    losses.running |= running;
    if (!p.where->retry()) {  // settled since it was looked at
      unreported_.push_back(p.owner);
      continue;
    }
    auto& rows = running ? ran.try_emplace(p.owner->id(), batch{{}, work->enqueued, {}, core}).first->second : waited;
    rows.pieces.push_back({p.owner, p.where->first_row(), p.where->rows(), p.where->chunk(), p.where, losses});
  }
  auto push_again = [&queue](batch rows) {
    // A request may have ended by a part that came later.
    std::erase_if(rows.pieces, [](const piece& p) { return p.owner->answer().failed(); });
    if (!rows.pieces.empty()) queue.push_again(std::move(rows));
  };
  push_again(std::move(waited));
  for (auto& [id, rows] : ran) push_again(std::move(rows));
}

}  // namespace ganglion

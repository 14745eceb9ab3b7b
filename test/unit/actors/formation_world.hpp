#pragma once

#include "formation_fixture.hpp"

#include <support/choices.hpp>
#include <support/errors.hpp>

#include <set>
#include <tuple>

namespace ganglion::test {

/// A formation under chosen requests, ends, failures, losses and cancels, with its invariants checked at every step.
class formation_world {
 public:
  explicit formation_world(choices c)
      : choices_(c), limited_(below(3) == 0), f_({2, 3e-3, most_on_a_core, 0.5e-3, most_together}, queue_time()) {
    for (std::uint64_t id = 1; id <= 2; ++id) {
      std::vector<std::size_t> cores;
      for (std::size_t core = 0; core < core_count; ++core)
        if (cores.empty() || below(3) > 0) cores.push_back(core);
      caps_[id] = below(2) == 0 ? std::nullopt : std::optional<std::size_t>{1 + below(4)};
      coalescing_options options{std::chrono::milliseconds(below(2) * below(10)),
                                 std::chrono::milliseconds(below(2) * 3), below(8) == 0};
      for (auto buckets = 1 + below(2); sizes_[id].size() < buckets;) {
        std::set<std::int64_t> sizes;
        for (std::size_t i = 0; i < id; ++i) sizes.insert(1 + static_cast<std::int64_t>(below(8)));
        sizes_[id].emplace_back(sizes.begin(), sizes.end());
      }
      if (below(3) == 0) is_quick_.insert(id);
      targets_[id] = deployment_of_buckets(sizes_[id], id, cores, options);
      for (auto core : cores)
        if (below(3) == 0) loading_[id].insert(core);
      f_.queue.add(targets_[id], caps_[id], {loading_[id].begin(), loading_[id].end()});
    }
    for (std::size_t core = 0; core < core_count; ++core) up(core);
    if (below(3) > 0) return;
    most_waiting_ = 10 + static_cast<std::int64_t>(below(40));
    f_.gate = std::make_shared<admission>(admission_limits{most_waiting_});
  }

  void step() {
    switch (below(13)) {
      case 0:
      case 1:
      case 2: enqueue(); break;
      case 3: fail_one(); break;
      case 4:
        if (below(4) == 0) down(below(core_count), below(2) == 0);
        break;
      case 5: up(below(core_count)); break;
      case 6: cancel_one(); break;
      case 7: wake_zombie(); break;
      case 8: f_.now += std::chrono::milliseconds(below(5)); break;
      case 9: load_one(); break;
      default: finish_one();
    }
    pump();
    check_lost();
  }

  /// Whether there are choices left for another step.
  bool any_left() const { return choices_.any_left(); }

  /// All cores come back and everything runs to its end.
  void settle() {
    for (std::size_t core = 0; core < core_count; ++core) up(core);
    for (auto& [id, cores] : loading_)
      for (auto core : std::exchange(cores, {})) f_.queue.model_on_core(id, core);
    pump();
    for (int i = 0; i < 3; ++i, f_.now += std::chrono::hours(1), pump())
      while (f_.queue.executions_in_flight() > 0) {
        finish_one();
        pump();
      }
    while (!zombies_.empty()) wake_zombie();
    for (const auto& [id, r] : requests_) check_answer(r);
    f_.expect_all_gone();
    for (const auto& [id, r] : requests_) REQUIRE(r.kept.expired());
    for (auto [id, d] : targets_) f_.queue.close(id);
    REQUIRE(f_.queue.take_closed().size() == 2);
  }

  std::size_t answered_well = 0;
  std::size_t retried = 0;
  std::size_t failed = 0;
  std::size_t joined = 0;
  std::size_t shared_failures = 0;
  std::size_t refused = 0;
  std::size_t written = 0;
  std::size_t together = 0;
  std::size_t unreported = 0;
  std::size_t not_admitted = 0;

 private:
  struct record {
    sent_request sent;
    std::weak_ptr<request> kept;
    std::uint64_t deployment = 0;
    std::size_t bucket = 0;
    request_options options;
    std::optional<std::int64_t> beside;  // a value that all rows of an execution must have in common
    clock::time_point enqueued;
    std::int64_t rows = 0;
    std::int64_t first = 0;
    std::set<errc> may_fail_with;
    std::vector<int> begun;  // how often each row was put into a first execution
    std::size_t together = 1;  // the rows of a chunk that joins nobody, whose rest is bound to a core

    bool waits() const {
      for (std::size_t row = 0; row < begun.size(); row += together)
        if (begun[row] == 0) return sent.got->all.empty();
      return false;
    }
  };

  static constexpr std::size_t core_count = 3;
  static constexpr std::size_t most_on_a_core = 4;
  static constexpr double most_together = 3e-3;

  std::size_t below(std::size_t n) { return choices_.below(n); }

  std::optional<std::chrono::nanoseconds> queue_time() {
    if (!limited_) return std::nullopt;
    return std::chrono::milliseconds(1 + below(10));
  }

  void enqueue() {
    auto id = 1 + below(2);
    auto rows = 1 + static_cast<std::int64_t>(below(20));
    auto split = below(3) == 0 ? std::optional{1 + static_cast<std::int64_t>(below(14))} : std::nullopt;
    bool dynamic = below(5) > 0;
    const auto& target = targets_[id];
    auto bucket = below(sizes_[id].size());
    const auto& sizes = sizes_[id][bucket];
    auto fixed = static_cast<std::int64_t>(target->cores.size()) * sizes[below(sizes.size())];
    record r;
    if (!dynamic && below(3) > 0) rows = fixed;
    r.first = next_row_;
    next_row_ += rows;
    request_options options;
    options.priority = static_cast<priority>(below(3));
    options.tenant = std::string(below(3), 't');
    if (below(6) == 0) {
      options.deadline = f_.now + std::chrono::milliseconds(below(40));
      r.may_fail_with.insert(errc::deadline_exceeded);
    }
    if (below(4) == 0) options.outputs = {at::zeros({rows, 2})};
    if (below(12) == 0) r.beside = static_cast<std::int64_t>(below(2));
    const auto beside = r.beside ? std::vector<c10::IValue>{*r.beside} : std::vector<c10::IValue>{};
    const auto waiting = f_.gate->queued_rows();
    REQUIRE(waiting <= rows_unanswered());
    if (waiting > 0 && waiting + rows > most_waiting_) {
      ++not_admitted;
      REQUIRE(failure_of([&] { make_request(target, rows, f_.gate, r.first, options, bucket, beside); }).code ==
              errc::queue_full);
      REQUIRE(f_.gate->queued_rows() == waiting);
      return;
    }
    r.sent = make_request(target, rows, f_.gate, r.first, options, bucket, beside);
    r.options = std::move(options);
    r.enqueued = f_.now;
    r.deployment = id;
    r.bucket = bucket;
    r.rows = rows;
    r.begun.assign(static_cast<std::size_t>(rows), 0);
    auto is_fixed = [&](std::int64_t size) { return rows == size * static_cast<std::int64_t>(target->cores.size()); };
    if (!dynamic && std::none_of(sizes.begin(), sizes.end(), is_fixed))
      r.may_fail_with.insert(errc::batch_size_mismatch);
    if (all_lost(id)) r.may_fail_with.insert(errc::core_lost);
    if (failed_.contains(id)) r.may_fail_with.insert(errc::forward_failed);
    r.sent.value->plan(dynamic, split);
    if (!r.sent.value->joinable()) r.together = static_cast<std::size_t>(r.sent.value->chunks().chunk_rows());
    auto number = r.sent.value->id();
    r.kept = r.sent.value;
    auto value = std::move(r.sent.value);
    auto got = r.sent.got;
    auto& sent = requests_.emplace(number, std::move(r)).first->second;
    f_.queue.enqueue(std::move(value), f_.now);
    // Too long a wait is expected at once or never.
    if (limited_ && !got->all.empty() && got->only().code() == errc::queue_full) {
      ++refused;
      sent.may_fail_with.insert(errc::queue_full);
    }
  }

  std::int64_t rows_unanswered() const {
    std::int64_t rows = 0;
    for (const auto& [id, r] : requests_)
      if (r.sent.got->all.empty()) rows += r.rows;
    return rows;
  }

  void pump() {
    f_.queue.advance(f_.now);
    while (auto next = f_.queue.next(f_.now)) {
      const auto& work = *next->work;
      const auto& target = *targets_.at(work.deployment_id);
      REQUIRE(up_.contains(next->core));
      REQUIRE(std::find(target.cores.begin(), target.cores.end(), next->core) != target.cores.end());
      REQUIRE_FALSE(loading_[work.deployment_id].contains(next->core));
      const auto& owner = *work.parts.front().owner;
      const auto& sizes = sizes_[work.deployment_id][owner.bucket()];
      REQUIRE(std::binary_search(sizes.begin(), sizes.end(), work.batch));
      check_class(work);
      if (!owner.dynamic_batching())
        REQUIRE(work.batch * static_cast<std::int64_t>(target.cores.size()) == owner.rows());
      REQUIRE(work.rows() >= 1);
      REQUIRE(work.rows() <= work.all_rows());
      if (work.forwards > 1) {
        ++together;
        REQUIRE(work.parts.size() == 1);
        REQUIRE(work.padding_rows() == 0);
        REQUIRE(owner.joinable());
        // What a forward is taken to last is no less than the least that one has taken.
        const auto least = static_cast<double>(work.forwards) * least_seconds_.at(programs_of(work));
        REQUIRE(least <= 2 * most_together * 1.0001);
      }
      if (target.coalescing.deterministic) check_places(work, sizes);
      joined += work.parts.size() > 1;
      for (const auto& p : work.parts) {
        auto& r = requests_.at(p.owner->id());
        REQUIRE(r.deployment == work.deployment_id);
        REQUIRE(r.bucket == owner.bucket());
        REQUIRE(r.beside == requests_.at(owner.id()).beside);
        REQUIRE(r.sent.got->all.empty());
        if (p.attempt > 0) {
          ++retried;
          continue;
        }
        for (auto row = p.where->first_row(); row < p.where->first_row() + p.where->rows(); ++row)
          REQUIRE(++r.begun.at(static_cast<std::size_t>(row)) == 1);
        if (p.owner->joinable()) continue;
        auto [bound, first_time] = chunk_core_.try_emplace({p.owner->id(), p.where->chunk()}, next->core);
        REQUIRE(bound->second == next->core);
      }
      check_class_on(next->core, work);
      f_.held[next->core].push_back(next->work);
      REQUIRE(f_.held[next->core].size() <= most_on_a_core);
      if (caps_[work.deployment_id]) REQUIRE(in_flight(work.deployment_id) <= *caps_[work.deployment_id]);
    }
    if (auto due = f_.queue.due()) REQUIRE(*due > f_.now);  // else whoever keeps the time would ask for ever
    check_idle_cores();
  }

  /// No core is idle while a row waits for it that is not to be delayed.
  void check_idle_cores() const {
    // One that is alone is shared out evenly, and leaves to each core its share.
    if (std::ranges::count_if(requests_, [](const auto& entry) { return entry.second.waits(); }) < 2) return;
    for (const auto& [id, target] : targets_) {
      if (failed_.contains(id) || (caps_.at(id) && in_flight(id) >= *caps_.at(id))) continue;
      auto idle = [&, id = id](std::size_t core) {
        auto held = f_.held.find(core);
        auto loading = loading_.find(id);
        return up_.contains(core) && (loading == loading_.end() || !loading->second.contains(core)) &&
               (held == f_.held.end() || held->second.empty());
      };
      if (std::ranges::none_of(target->cores, idle)) continue;
      for (const auto& [number, r] : requests_)
        if (r.deployment == id && r.waits()) REQUIRE(f_.now < r.enqueued + target->coalescing.max_queue_delay);
    }
  }

  std::int64_t class_of(std::uint64_t deployment, priority p, clock::time_point since) const {
    auto ageing = targets_.at(deployment)->coalescing.ageing;
    auto rises = ageing.count() > 0 ? (f_.now - since) / ageing : 0;
    return std::max<std::int64_t>(0, static_cast<std::int64_t>(p) - rises);
  }
  /// Rows that are to have the same bits whatever else is there: in the largest program, at a place of their own.
  void check_places(const execution& work, const std::vector<std::int64_t>& sizes) const {
    const auto& owner = *work.parts.front().owner;
    if (owner.dynamic_batching()) REQUIRE(work.batch == sizes.back());
    for (const auto& p : work.parts) {
      REQUIRE(p.owner->id() == owner.id());
      REQUIRE(p.where->first_row() % owner.chunks().chunk_rows() % work.batch == p.offset);
    }
  }
  /// Nothing that waits for the same programs is more urgent.
  void check_class(const execution& work) const {
    const auto& owner = requests_.at(work.parts.front().owner->id());
    const auto its_class = class_of(work);
    for (const auto& [id, r] : requests_)
      if (r.deployment == owner.deployment && r.bucket == owner.bucket && r.waits()) REQUIRE(class_of(r) >= its_class);
  }
  /// Nor is what waits for other programs on a core that is at work.
  void check_class_on(std::size_t core, const execution& work) const {
    if (auto held = f_.held.find(core); held == f_.held.end() || held->second.empty()) return;
    const auto its_class = class_of(work);
    for (const auto& [number, r] : requests_) {
      const auto& target = *targets_.at(r.deployment);
      const auto loading = loading_.find(r.deployment);
      const bool may_go = std::ranges::count(target.cores, core) > 0 &&
                          (loading == loading_.end() || !loading->second.contains(core)) &&
                          (!caps_.at(r.deployment) || in_flight(r.deployment) < *caps_.at(r.deployment)) &&
                          f_.now >= r.enqueued + target.coalescing.max_queue_delay;
      if (may_go && r.waits()) REQUIRE(class_of(r) >= its_class);
    }
  }
  std::int64_t class_of(const record& r) const { return class_of(r.deployment, r.options.priority, r.enqueued); }
  std::int64_t class_of(const execution& work) const {
    const auto& first = work.parts.front();
    const auto& owner = requests_.at(first.owner->id());
    bool begun = first.attempt > 0 || (!first.owner->joinable() &&
                                       first.where->first_row() % first.owner->chunks().chunk_rows() != 0);
    auto p = owner.options.priority;
    auto since = owner.enqueued;
    if (begun) {
      since = work.enqueued;
      for (const auto& part : work.parts) p = std::min(p, part.owner->options().priority);
    }
    return class_of(owner.deployment, p, since);
  }

  std::size_t in_flight(std::uint64_t id) const {
    std::size_t count = 0;
    for (const auto& [core, all] : f_.held)
      for (const auto& work : all) count += work->deployment_id == id;
    return count;
  }

  std::optional<std::size_t> busy_core() {
    std::vector<std::size_t> busy;
    for (const auto& [core, all] : f_.held)
      if (!all.empty()) busy.push_back(core);
    if (busy.empty()) return std::nullopt;
    return busy[below(busy.size())];
  }

  void finish_one() {
    auto core = busy_core();
    if (!core) return;
    auto place = below(f_.held[*core].size());
    const auto& work = *f_.held[*core][place];
    const std::chrono::microseconds computed{100 + below(is_quick_.contains(work.deployment_id) ? 300 : 3'000)};
    auto& least = least_seconds_.try_emplace(programs_of(work), 1).first->second;
    least = std::min(least, std::chrono::duration<double>(computed).count() / static_cast<double>(work.forwards));
    f_.finish(*core, place, computed);
  }
  static std::tuple<std::uint64_t, std::size_t, std::int64_t> programs_of(const execution& work) {
    return {work.deployment_id, work.parts.front().owner->bucket(), work.batch};
  }
  void fail_one() {
    auto core = busy_core();
    if (!core) return;
    auto place = below(f_.held[*core].size());
    const auto& parts = f_.held[*core][place]->parts;
    // Those that shared it are run again apart.
    bool shared = std::any_of(parts.begin(), parts.end(),
                              [&](const part& p) { return p.owner != parts.front().owner; });
    if (shared)
      ++shared_failures;
    else
      requests_.at(parts.front().owner->id()).may_fail_with.insert(errc::forward_failed);
    f_.fail(*core, place);
  }
  void down(std::size_t core, bool returns) {
    if (!up_.erase(core)) return;
    (returns ? lost_.erase(core) : lost_.insert(core).second);
    const auto mismatched = end_unreported(core);
    for (const auto& work : f_.held[core])
      for (const auto& p : work->parts) {
        const auto& cores = targets_.at(work->deployment_id)->cores;
        bool elsewhere = std::any_of(cores.begin(), cores.end(), [this](std::size_t c) { return up_.contains(c); });
        bool running = below(2) == 0 && p.where->start(p.attempt);
        if ((running && (p.losses.running || !elsewhere)) || p.losses.held == 7)
          requests_.at(p.owner->id()).may_fail_with.insert(errc::core_lost);
      }
    for (auto& [id, r] : requests_)
      if (all_lost(r.deployment)) r.may_fail_with.insert(errc::core_lost);
    for (auto& work : f_.down(core, returns)) zombies_.push_back({core, std::move(work)});
    std::erase_if(chunk_core_, [core](const auto& entry) { return entry.second == core; });
    for (auto id : mismatched) REQUIRE(requests_.at(id).sent.got->once());
  }
  /// The core's lane ends some of what it holds, and its reports of that are lost with it. Returns the requests which
  /// failed on the way.
  std::set<std::uint64_t> end_unreported(std::size_t core) {
    std::set<std::uint64_t> mismatched;
    const auto& held = f_.held[core];
    for (auto ended = below(held.size() + 1), i = std::size_t{0}; i < ended; ++i) {
      ++unreported;
      f_.lanes.complete(held[i], core);
      auto& owner = *held[i]->parts.front().owner;
      auto& r = requests_.at(owner.id());
      if (!r.sent.got->all.empty() || below(4) > 0) continue;
      r.may_fail_with.insert(errc::gather_mismatch);
      mismatched.insert(owner.id());
      owner.answer().fail({errc::gather_mismatch, "its outputs do not fit"});
    }
    return mismatched;
  }
  void up(std::size_t core) {
    if (!up_.insert(core).second) return;
    lost_.erase(core);
    f_.queue.core_up(core);
  }
  bool all_lost(std::uint64_t id) const {
    const auto& cores = targets_.at(id)->cores;
    return std::all_of(cores.begin(), cores.end(), [this](std::size_t c) { return lost_.contains(c); });
  }

  /// A core has its model, or cannot load it.
  void load_one() {
    auto id = 1 + below(2);
    auto& cores = loading_[id];
    if (cores.empty()) return;
    if (below(8) > 0) {
      auto core = *cores.begin();
      cores.erase(core);
      f_.queue.model_on_core(id, core);
      return;
    }
    failed_.insert(id);
    cores.clear();
    for (auto& [number, r] : requests_)
      if (r.deployment == id) r.may_fail_with.insert(errc::forward_failed);
    f_.queue.fail_deployment(id, {errc::forward_failed, "it cannot be loaded"});
    for (const auto& [number, r] : requests_)
      if (r.deployment == id) REQUIRE(r.sent.got->once());
  }

  void cancel_one() {
    if (requests_.empty()) return;
    auto found = requests_.lower_bound(requests_.rbegin()->first - below(6));
    if (found == requests_.end()) return;
    auto& [id, r] = *found;
    bool unanswered = r.sent.got->all.empty();
    if (unanswered) r.may_fail_with.insert(errc::cancelled);
    f_.queue.cancel(id, {errc::cancelled, "x"});
    // No lane is in the middle of a commit here, so the answer is there at once.
    REQUIRE(r.sent.got->once());
    if (unanswered) REQUIRE(r.sent.got->only().error.code != errc::ok);
  }

  /// A lane that was given up ends what it was at.
  void wake_zombie() {
    if (zombies_.empty()) return;
    auto [core, work] = zombies_.front();
    zombies_.pop_front();
    REQUIRE_FALSE(f_.lanes.complete(work, core).ran);
    f_.queue.finished(core, {work, {}, true, {}, {}, {}}, f_.now);
  }

  void check_lost() {
    for (const auto& [id, r] : requests_) {
      REQUIRE(r.sent.got->all.size() <= 1);
      if (all_lost(r.deployment)) REQUIRE(r.sent.got->once());
    }
  }
  void check_answer(const record& r) {
    REQUIRE(r.sent.got->once());
    const auto& answer = r.sent.got->only();
    if (answer.ok()) {
      ++answered_well;
      REQUIRE_FALSE(r.may_fail_with.contains(errc::batch_size_mismatch));
      expect_answered(r.sent, r.rows, r.first);
      if (!r.options.outputs.empty()) {
        ++written;
        REQUIRE(answer.outputs.toTensor().is_same(r.options.outputs.front()));
      }
      for (auto count : r.begun) REQUIRE(count == 1);
    } else {
      ++failed;
      NOTE(answer.error.text);
      REQUIRE(r.may_fail_with.contains(answer.error.code));
    }
  }

  choices choices_;
  bool limited_;
  std::int64_t most_waiting_ = admission_limits{}.max_queued_rows;
  formation_fixture f_;
  std::map<std::uint64_t, std::shared_ptr<const deployment>> targets_;
  std::map<std::uint64_t, std::vector<std::vector<std::int64_t>>> sizes_;  // of each bucket
  std::map<std::uint64_t, std::set<std::size_t>> loading_;
  std::set<std::uint64_t> failed_, is_quick_;
  std::map<std::uint64_t, std::optional<std::size_t>> caps_;
  std::map<std::uint64_t, record> requests_;
  std::map<std::pair<std::uint64_t, std::size_t>, std::size_t> chunk_core_;
  std::map<std::tuple<std::uint64_t, std::size_t, std::int64_t>, double> least_seconds_;  // of a forward that has run
  std::set<std::size_t> up_, lost_;
  std::deque<std::pair<std::size_t, execution_ptr>> zombies_;
  std::int64_t next_row_ = 0;
};

}  // namespace ganglion::test

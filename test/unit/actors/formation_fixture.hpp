#pragma once

#include <support/puppet_lane.hpp>
#include <support/requests.hpp>

#include <ganglion/actors/batcher/formation.hpp>

#include <algorithm>
#include <map>
#include <string>

namespace ganglion::test {

/// A formation with the executions that its cores hold, which end when the test says so.
struct formation_fixture {
  formation queue;
  std::shared_ptr<admission> gate = std::make_shared<admission>();
  puppet_lanes lanes;
  std::map<std::size_t, std::vector<execution_ptr>> held;  // by core, oldest first

  clock::time_point now;

  explicit formation_fixture(credit_config credits = {}, std::optional<std::chrono::nanoseconds> max_queue_time = {})
      : queue({credits, max_queue_time}) {}

  std::shared_ptr<const deployment> add(std::uint64_t id, std::int64_t batch, std::vector<std::size_t> cores,
                                        std::optional<std::size_t> num_workers = {}, coalescing_options options = {}) {
    return add(id, std::vector{batch}, std::move(cores), num_workers, options);
  }
  std::shared_ptr<const deployment> add(std::uint64_t id, std::vector<std::int64_t> batches,
                                        std::vector<std::size_t> cores, std::optional<std::size_t> num_workers = {},
                                        coalescing_options options = {}) {
    auto d = *deployment_of_batches(std::move(batches), id, std::move(cores));
    d.coalescing = options;
    auto shared = std::make_shared<const deployment>(std::move(d));
    queue.add(shared, num_workers);
    return shared;
  }
  sent_request enqueue(const std::shared_ptr<const deployment>& d, std::int64_t rows,
                       std::optional<std::int64_t> split = {}, bool dynamic = true) {
    auto r = make_request(d, rows, gate);
    r.value->plan(dynamic, split);
    queue.enqueue(std::exchange(r.value, nullptr), now);  // the formation and the lanes alone keep it
    return r;
  }
  sent_request enqueue(const std::shared_ptr<const deployment>& d, std::int64_t rows, request_options options,
                       std::optional<std::int64_t> split = {}) {
    auto r = make_request(d, rows, gate, 0, std::move(options));
    r.value->plan(true, split);
    queue.enqueue(std::exchange(r.value, nullptr), now);
    return r;
  }
  /// Binds work to cores for as long as one takes any. Returns how many executions.
  std::size_t pump() {
    std::size_t count = 0;
    queue.advance(now);
    for (; auto next = queue.next(now); ++count) held[next->core].push_back(next->work);
    return count;
  }
  /// Lets time pass, and binds what is due then.
  std::size_t wait(std::chrono::nanoseconds time) {
    now += time;
    return pump();
  }
  /// The rows that each request has in an execution, in its order, as `<number of the owner>:<rows>`.
  static std::string contents(const execution& work, const std::vector<std::uint64_t>& ids) {
    std::string result;
    for (const auto& p : work.parts) {
      auto who = std::find(ids.begin(), ids.end(), p.owner->id()) - ids.begin();
      result += (result.empty() ? "" : " ") + std::to_string(who) + ":" + std::to_string(p.where->rows());
    }
    return result;
  }
  execution_ptr take(std::size_t core, std::size_t place = 0) {
    auto& all = held[core];
    REQUIRE(all.size() > place);
    auto work = all[place];
    all.erase(all.begin() + static_cast<std::ptrdiff_t>(place));
    return work;
  }
  void finish(std::size_t core, std::size_t place = 0,
              std::chrono::nanoseconds computed = std::chrono::milliseconds(1)) {
    auto work = take(core, place);
    queue.finished(core, lanes.complete(work, core, computed), now);
  }
  void fail(std::size_t core, std::size_t place = 0) {
    auto work = take(core, place);
    for (const auto& p : work->parts) p.where->start(p.attempt);
    queue.finished(core, {work, {errc::forward_failed, "it failed"}, true, {}, {}, {}}, now);
  }
  /// The core's lane begins the oldest `count` executions that it holds.
  void begin(std::size_t core, std::size_t count = 1) {
    REQUIRE(held[core].size() >= count);
    for (std::size_t i = 0; i < count; ++i)
      for (const auto& p : held[core][i]->parts) p.where->start(p.attempt);
  }
  /// The core goes; what it held is returned, and may still be in the middle of something.
  std::vector<execution_ptr> down(std::size_t core, bool returns) {
    queue.core_down(core, returns);
    return std::exchange(held[core], {});
  }
  /// Finishes and pumps until nothing runs.
  void run_all() {
    pump();
    for (bool any = true; any;) {
      any = false;
      for (auto& [core, all] : held)
        while (!all.empty()) {
          finish(core);
          pump();
          any = true;
        }
    }
  }
  void expect_all_gone() const {
    EXPECT(queue.executions_in_flight() == 0);
    EXPECT(gate->queued_rows() == 0);
    EXPECT(gate->queued_bytes() == 0);
    EXPECT(gate->unanswered() == 0);
  }
};

/// The request was answered once, with its own rows plus one.
inline void expect_answered(const sent_request& r, std::int64_t rows, std::int64_t first = 0) {
  REQUIRE(r.got->once());
  NOTE(r.got->only().error.text);
  REQUIRE(r.got->only().ok());
  REQUIRE(at::equal(r.got->only().outputs.toTensor(), numbered_rows(rows, first) + 1));
}

inline request_options within(clock::time_point deadline) {
  request_options options;
  options.deadline = deadline;
  return options;
}

inline void expect_failed(const sent_request& r, errc code) {
  REQUIRE(r.got->once());
  EXPECT(to_string(r.got->only().error.code) == to_string(code));
}

}  // namespace ganglion::test

#pragma once

#include <ganglion/actors/batcher/batch_cover.hpp>
#include <ganglion/actors/batcher/core_table.hpp>
#include <ganglion/actors/batcher/request_queue.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

namespace ganglion {

/// An execution and the core that it is for.
struct assignment {
  std::size_t core;
  execution_ptr work;
};

/// Decides which rows run next and where: every queue and every core's credit in one plain class, without a clock, a
/// thread or a mailbox. The batching actor owns one.
///
/// Invariants: an execution is formed only when a core's credit takes it (late binding), and one that is not full only
/// for a core that has nothing of its bucket; none holds more than the compiled batch, but where forwards take so
/// little that several full batches of one request go together; the rows of a request are put into slots exactly once,
/// in order; a chunk of several executions stays on one core; a deployment has at most its cap
/// of executions in flight; more urgent classes go first, and while one waits for a core that is at work, nothing less
/// urgent is put in front of it there; deployments that share cores take turns by measured seconds, and so do the
/// buckets of one deployment; among the cores that accept, the one with the least work is taken; while a request that
/// found the engine idle is alone, no core gets more than an even share of its executions (S12).
class formation {
 public:
  struct limits {
    credit_config credits;
    /// The longest that a request may be expected to wait; unset: no limit.
    std::optional<std::chrono::nanoseconds> max_queue_time;
  };

  explicit formation(limits l = {}) : limits_(l), cores_(l.credits) {}

  /// `loading` are those of its cores that do not have its model yet: what is accepted waits for the first that does.
  void add(std::shared_ptr<const deployment> d, std::optional<std::size_t> num_workers,
           const std::vector<std::size_t>& loading = {});
  /// One of those has the model.
  void model_on_core(std::uint64_t deployment_id, std::size_t core);
  /// The model could not be loaded: everything of the deployment fails, now and later.
  void fail_deployment(std::uint64_t deployment_id, const failure& reason);
  /// Takes no more requests for the deployment; what was accepted still runs. Returns false where there is none.
  bool close(std::uint64_t deployment_id);
  /// Forgets the closed deployments of which nothing waits or runs any more, and names them.
  std::vector<std::uint64_t> take_closed();
  /// No more requests will come than are on their way: from now on no batch waits for rows that would fill it.
  void close_admission() { admission_closed_ = true; }
  void set_num_workers(std::uint64_t deployment_id, std::optional<std::size_t> num_workers);
  /// What an execution of one of the model's programs is expected to take, before one was measured.
  void expect_seconds(std::uint64_t deployment_id, std::size_t program, double seconds);
  /// Whether a row has the same bits at any place in a batch, as a core found when it warmed the model. Where it has
  /// not, or nobody has told, the requests of a deployment that is to be deterministic are run apart.
  void expect_places(std::uint64_t deployment_id, bool alike);

  void core_up(std::size_t core);
  /// Takes back what the core held: each part is retried once on another core, or its request fails with `core_lost`.
  /// With `returns` false the core counts as lost until a `core_up` of it: what no other core can run fails now.
  /// Returns what it was in the middle of.
  std::vector<execution_ptr> core_down(std::size_t core, bool returns);

  /// Queues a planned request, or refuses it: `draining` for an unknown deployment, the reason of one that failed,
  /// `core_lost` when all its cores are lost, `batch_size_mismatch` (S13), `deadline_exceeded` where its deadline has
  /// passed or is expected to, `queue_full` where it is expected to wait for longer than `max_queue_time`.
  void enqueue(request_ptr r, clock::time_point now);
  /// Drops all rows of a request that are not committed, so that it is answered.
  void cancel(std::uint64_t request_id, failure f);
  /// Answers what is past its deadline, and lets those rise in class that have waited for long.
  void advance(clock::time_point now);

  /// The next execution that a core takes, if there is one.
  std::optional<assignment> next(clock::time_point now);
  /// When `advance` or `next` will have something to do although nothing else happens; nothing: never.
  std::optional<clock::time_point> due() const;
  /// Gives the credit back and deals with what failed: requests that shared an execution which failed are run apart.
  void finished(std::size_t core, const execution_report& report, clock::time_point now);
  /// Fails everything that waits or runs: the engine ends.
  void fail_all(const failure& f);

  std::size_t executions_in_flight() const { return cores_.in_flight(); }
  /// Those of each deployment.
  std::map<std::uint64_t, std::size_t> in_flight_by_deployment() const {
    std::map<std::uint64_t, std::size_t> result;
    for (const auto& [id, d] : deployments_) result.emplace(id, d.in_flight);
    return result;
  }

 private:
  /// What waits for the programs of one bucket.
  struct bucket_state {
    std::size_t index = 0;
    request_queue queue;
    batch_cover cover;
    std::size_t in_flight = 0;
    double turn = 0;  // seconds that it has had, for taking turns
    std::optional<clock::time_point> delayed_until;  // of a batch that is not full
    std::multiset<clock::time_point> deadlines;      // of the requests of which rows wait for their first time
  };
  struct deployment_state {
    std::shared_ptr<const deployment> target;
    std::vector<std::size_t> cores;  // those of the target that have the model, in its order
    std::size_t group = 0;           // they, in the table of the cores
    std::optional<std::size_t> num_workers;
    std::vector<bucket_state> buckets;
    std::size_t in_flight = 0;  // of all buckets
    bool closing = false;
    std::optional<failure> failed;
    std::optional<bool> places_are_alike;  // as all cores found that have told

    /// Whether something waits in a bucket that a core could run: not while it waits for its model.
    bool has_work(const bucket_state& b) const { return !b.queue.empty() && !cores.empty(); }
  };
  using deadlines = std::multimap<clock::time_point, std::uint64_t>;
  /// A request that is not known to be answered.
  struct live_request {
    request_ptr value;
    std::optional<deadlines::iterator> deadline;
    std::optional<std::multiset<clock::time_point>::iterator> waits_until;  // in those of its bucket
  };
  /// The request that found the engine idle, and how many rows of it each core had and may have.
  struct lone_request {
    std::uint64_t id = 0;
    std::int64_t share = 0;
    std::unordered_map<std::size_t, std::int64_t> had;
  };

  // formation.cpp: what there is, and what runs next
  static core_wish wish_of(const deployment_state& d, const bucket_state& b, std::int64_t size, bool full);
  /// The core that takes it; where none does, the cores that could are awaited.
  std::optional<std::size_t> pick(core_wish wish);
  /// What runs again or is the rest of a chunk, and what runs for its first time.
  std::optional<assignment> next_begun(deployment_state& d, bucket_state& b, priority p, clock::time_point now);
  std::optional<assignment> next_fresh(deployment_state& d, bucket_state& b, clock::time_point now);
  std::optional<assignment> next_joined(deployment_state& d, bucket_state& b, clock::time_point now);
  std::int64_t forwards_for(const deployment_state& d, const bucket_state& b, std::size_t core);
  assignment bind(deployment_state& d, bucket_state& b, batch rows, std::int64_t size, std::size_t core,
                  clock::time_point now);
  void join_turns(bucket_state& b) const;
  bool idle() const;
  void share_evenly(const request& r, const deployment_state& d);
  void end_sharing();

  // prediction.cpp: how long a request will take that comes now
  struct expectation {
    double wait = 0;  ///< seconds until the request is begun
    double run = 0;   ///< and from there until it is done
  };
  expectation expectation_of(const deployment_state& d, const request& r, clock::time_point now) const;
  /// The seconds of executions that go before it in its own queue; `open` are the rows with which its own will go.
  static double seconds_before(const bucket_state& b, const request& r, std::int64_t& open);
  /// Those that go before it in other queues.
  double seconds_beside(const deployment_state& d, const bucket_state& own, priority p, double before) const;
  /// How long each core is busy that the deployment may use, no more than it may use at once.
  std::vector<double> busy_cores(const deployment_state& d, clock::time_point now) const;
  /// How many of its executions may run at once.
  std::size_t at_once(const deployment_state& d) const;

  // requests.cpp: what is accepted, and what becomes of it
  std::optional<failure> refusal(const request& r, const deployment_state& d, clock::time_point now) const;
  void take_back(const execution_ptr& work, std::size_t core, deployment_state& d);
  void run_apart(const execution_ptr& work, bucket_state& b);
  /// Ends a request: fails it and resolves all of its rows that no lane is committing.
  void end(const request_ptr& r, failure f);
  void drop(const request_ptr& r);
  /// Forgets a request that was answered.
  void forget(const request& r);
  /// No row of it waits for its first time any more. Precondition: it has `waits_until`.
  void waits_no_more(live_request& live);
  /// Forgets those of which a lane committed rows without a report, once they are answered.
  void forget_unreported();
  void fail_all_of(const deployment_state& d, const failure& f);

  limits limits_;
  core_table cores_;
  std::map<std::uint64_t, deployment_state> deployments_;
  std::unordered_map<std::uint64_t, live_request> live_;
  std::vector<request_ptr> unreported_;
  deadlines deadlines_;
  std::optional<lone_request> lone_;
  // While `next` looks: the cores that rows wait for, all and those of a more urgent class than is asked at the moment.
  awaited_cores lacking_, awaited_;
  bool admission_closed_ = false;
  std::uint64_t last_execution_ = 0;
};

}  // namespace ganglion

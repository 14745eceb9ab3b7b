#pragma once

#include <ganglion/actors/batcher/credits.hpp>
#include <ganglion/actors/batcher/request_queue.hpp>
#include <ganglion/actors/core/execution.hpp>

#include <cstdint>
#include <map>
#include <optional>
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
/// Invariants: an execution is formed only when a core's credit takes it (late binding); none holds more than the
/// compiled batch; the rows of a request are put into slots exactly once, in order; a chunk of several executions stays
/// on one core; a deployment has at most its cap of executions in flight; deployments that share cores take turns by
/// measured seconds; among the cores that accept, the one with the least work is taken; while a request that found the
/// engine idle is alone, no core gets more than an even share of its executions (S12).
class formation {
 public:
  explicit formation(credit_config credits = {}) : credits_(credits) {}

  void add(std::shared_ptr<const deployment> d, std::optional<std::size_t> num_workers);
  /// Takes no more requests for the deployment; what was accepted still runs. Returns false where there is none.
  bool close(std::uint64_t deployment_id);
  /// Forgets the closed deployments of which nothing waits or runs any more, and names them.
  std::vector<std::uint64_t> take_closed();
  void set_num_workers(std::uint64_t deployment_id, std::optional<std::size_t> num_workers);
  /// What an execution of the model is expected to take, before one was measured.
  void expect_seconds(std::uint64_t model_id, double seconds);

  void core_up(std::size_t core);
  /// Takes back what the core held: each part is retried once on another core, or its request fails with `core_lost`.
  /// With `returns` false the core is lost for good, and what no other core can run fails.
  void core_down(std::size_t core, bool returns);

  /// Queues a planned request, or refuses it: `draining` for an unknown deployment, `core_lost` when all its cores are
  /// lost, `batch_size_mismatch` (S13).
  void enqueue(request_ptr r, clock::time_point now);
  /// Drops all rows of a request that are not committed, so that it is answered.
  void cancel(std::uint64_t deployment_id, std::uint64_t request_id, failure f);

  /// The next execution that a core takes, if there is one.
  std::optional<assignment> next(clock::time_point now);
  /// Gives the credit back and deals with what failed.
  void finished(std::size_t core, const execution_report& report);
  /// Fails everything that waits or runs: the engine ends.
  void fail_all(const failure& f);

  std::size_t executions_in_flight() const;

 private:
  struct core_state {
    bool up = false;
    bool lost = false;
    credit_account account;
    std::map<std::uint64_t, execution_ptr> in_flight;
    std::map<std::uint64_t, double> expected;  // seconds that each was taken for
  };
  struct deployment_state {
    std::shared_ptr<const deployment> target;
    std::optional<std::size_t> num_workers;
    request_queue queue;
    std::size_t in_flight = 0;
    double turn = 0;  // seconds that it has had, for taking turns
    bool closing = false;
  };

  /// The request that found the engine idle, and what each core had of it.
  struct lone_request {
    std::uint64_t id = 0;
    std::size_t share = 0;
    std::map<std::size_t, std::size_t> had;
  };

  using deployments = std::map<std::uint64_t, deployment_state>;

  double expected_seconds(std::uint64_t model_id) const;
  std::optional<std::size_t> pick_core(const deployment_state& d, const piece& p) const;
  std::optional<assignment> next_of(deployment_state& d, clock::time_point now);
  void take_back(const part& p, const execution& work, std::size_t core, deployment_state* d);
  /// Resolves the rows of a failed request that no lane is committing, wherever they are.
  void drop_request(const request_ptr& r);
  void drop_in_flight();
  static void resolve(const std::vector<request_queue::withdrawn>& rows);
  bool all_lost(const deployment_state& d) const;
  void fail_queue(deployment_state& d, const failure& f);
  void join_turns(deployment_state& d) const;
  /// Whether nothing waits or runs; what has run and was not reported counts as nothing.
  bool idle() const;
  void share_evenly(const request& r, const deployment_state& d);
  bool has_its_share(const request& r, std::size_t core) const;

  credit_config credits_;
  std::map<std::size_t, core_state> cores_;
  deployments deployments_;
  std::unordered_map<std::uint64_t, running_mean> seconds_;  // by model
  std::optional<lone_request> lone_;
  std::uint64_t last_execution_ = 0;
};

}  // namespace ganglion

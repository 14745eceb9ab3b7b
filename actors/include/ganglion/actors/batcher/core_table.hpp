#pragma once

#include <ganglion/actors/batcher/core_group.hpp>
#include <ganglion/actors/batcher/credits.hpp>
#include <ganglion/actors/core/execution.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace ganglion {

/// The cores that rows wait for: whole groups, and single ones.
struct awaited_cores {
  std::set<std::size_t> groups, cores;
};

/// What is to go to a core, and where it may go.
struct core_wish {
  std::size_t group = 0;  ///< of the table's: the cores of the deployment
  std::uint64_t deployment_id = 0;
  std::size_t bucket = 0;  ///< of the deployment's programs
  double seconds = 0;      ///< expected
  /// False for a batch that could still grow: it is bound only where nothing of its bucket is in flight, so that what
  /// comes meanwhile joins it.
  bool full = true;
  std::optional<std::size_t> bound, avoid;
  /// Those that more urgent rows wait for, or null: of them only one that holds nothing may be taken.
  const awaited_cores* awaited = nullptr;
};

/// The cores as the formation sees them: which are there, and what each was given and has not reported. What is done
/// for each execution takes no longer where there are more cores, but for a logarithm.
class core_table {
 public:
  explicit core_table(credit_config credits = {}) : credits_(credits) {}

  /// A group of cores that are picked from together, in their order of preference; deployments on the same cores share
  /// one. Each `open` needs a `close`.
  std::size_t open_group(const std::vector<std::size_t>& cores);
  void close_group(std::size_t group);

  void up(std::size_t core);
  /// Returns what the core held. With `returns` false it counts as lost until it is `up` again.
  std::vector<execution_ptr> down(std::size_t core, bool returns);

  bool is_up(std::size_t core) const;
  std::size_t count_up(std::size_t group) const { return groups_[group].value->total().up; }
  const std::vector<std::size_t>& cores_of(std::size_t group) const { return groups_[group].value->cores(); }
  bool all_lost(const std::vector<std::size_t>& among) const;
  /// Whether one of them is there, apart from `core`.
  bool any_up_beside(const std::vector<std::size_t>& among, std::size_t core) const;
  bool any_up_beside(std::size_t group, std::size_t core) const;

  /// The core with the least work that takes it, if one does.
  std::optional<std::size_t> pick(const core_wish& wish) const;
  /// Lets a core take nothing for now, whatever its credit, until `release`.
  void hold_back(std::size_t core);
  /// Ends all `hold_back`.
  void release();

  /// Takes credit for `seconds`, of which `measured` are known.
  void give(std::size_t core, const execution_ptr& work, double seconds, double measured, clock::time_point now);
  /// What ended, and the seconds that it was expected to take; nothing where it was taken back before.
  std::optional<std::pair<execution_ptr, double>> take(std::size_t core, std::uint64_t execution_id,
                                                       clock::time_point now);

  std::size_t in_flight() const { return in_flight_; }
  /// The measured seconds that each of the group's cores which is there still has to run.
  std::vector<double> measured_left(std::size_t group, clock::time_point now) const {
    return groups_[group].value->measured_left(now);
  }
  /// Whether all rows that any core holds are in their answers.
  bool all_done() const;

 private:
  using bucket_key = std::pair<std::uint64_t, std::size_t>;  // a deployment and one of its buckets

  struct held {
    execution_ptr work;
    double seconds;
    double measured;
  };
  struct membership {
    std::size_t group;
    std::size_t place;
  };
  struct entry {
    bool up = false;
    bool lost = false;
    bool held_back = false;
    credit_account account;
    double measured = 0;                            // the sum of those in flight
    clock::time_point since;                        // when it began the first of them, about
    std::map<std::uint64_t, held> in_flight;        // by execution
    std::map<bucket_key, std::size_t> of_buckets;   // how many of those are of a bucket
    std::size_t busy_place = 0;                     // in `busy_`, while something is in flight
    std::vector<membership> groups;
  };
  struct group_entry {
    std::size_t users = 0;
    std::optional<core_group> value;
  };

  static bucket_key key_of(const execution& work) {
    return {work.deployment_id, work.parts.front().owner->bucket()};
  }
  const entry* find(std::size_t core) const { return core < cores_.size() ? &cores_[core] : nullptr; }
  entry& at(std::size_t core);
  core_load load_of(const entry& c) const;
  /// Tells the core's groups what changed.
  void note(std::size_t core);
  void forget(entry& c, const execution& work);
  void no_longer_busy(std::size_t core);

  credit_config credits_;
  std::vector<entry> cores_;
  std::vector<group_entry> groups_;
  std::size_t in_flight_ = 0;
  std::vector<std::size_t> busy_;                     // the cores that hold something, in no order
  std::map<bucket_key, std::size_t> cores_of_bucket_; // how many cores hold something of it
  std::vector<std::size_t> held_back_;
};

}  // namespace ganglion

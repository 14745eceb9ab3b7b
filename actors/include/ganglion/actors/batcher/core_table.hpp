#pragma once

#include <ganglion/actors/batcher/credits.hpp>
#include <ganglion/actors/core/execution.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace ganglion {

/// What is to go to a core, and where it may go.
struct core_wish {
  const std::vector<std::size_t>* cores = nullptr;  ///< those of the deployment
  std::uint64_t deployment_id = 0;
  std::size_t bucket = 0;  ///< of the deployment's programs
  double seconds = 0;      ///< expected
  /// False for a batch that could still grow: it is bound only where nothing of its bucket is in flight, so that what
  /// comes meanwhile joins it.
  bool full = true;
  std::optional<std::size_t> bound, avoid;
  std::function<bool(std::size_t)> also;  ///< empty, or what else a core must be
};

/// The cores as the formation sees them: which are there, and what each was given and has not reported.
class core_table {
 public:
  explicit core_table(credit_config credits = {}) : credits_(credits) {}

  void up(std::size_t core);
  /// Returns what the core held. With `returns` false it counts as lost until it is `up` again.
  std::vector<execution_ptr> down(std::size_t core, bool returns);

  bool is_up(std::size_t core) const;
  std::size_t count_up(const std::vector<std::size_t>& among) const;
  bool all_lost(const std::vector<std::size_t>& among) const;
  /// Whether one of them is there, apart from `core`.
  bool any_up_beside(const std::vector<std::size_t>& among, std::optional<std::size_t> core) const;

  /// The core with the least work that takes it, if one does.
  std::optional<std::size_t> pick(const core_wish& wish) const;

  /// Takes credit for `seconds`, of which `measured` are known.
  void give(std::size_t core, const execution_ptr& work, double seconds, double measured);
  /// What ended, and the seconds that it was expected to take; nothing where it was taken back before.
  std::optional<std::pair<execution_ptr, double>> take(std::size_t core, std::uint64_t execution_id);

  std::size_t in_flight() const;
  /// The measured seconds of what these cores hold.
  double measured_in_flight(const std::vector<std::size_t>& among) const;
  /// Whether all rows that any core holds are in their answers.
  bool all_done() const;

 private:
  struct held {
    execution_ptr work;
    double seconds;
    double measured;
  };
  struct entry {
    bool up = false;
    bool lost = false;
    credit_account account;
    double measured = 0;  // the sum of those in flight
    std::map<std::uint64_t, held> in_flight;  // by execution
  };

  const entry* find(std::size_t core) const;

  credit_config credits_;
  std::map<std::size_t, entry> cores_;
};

}  // namespace ganglion

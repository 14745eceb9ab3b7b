#pragma once

#include <ganglion/actors/supervisor/supervisor.hpp>

#include <caf/all.hpp>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

namespace ganglion {

/// One core as its supervisor sees it.
struct core_entry {
  core_actor handle;  ///< null while it is down
  clock::time_point served_since;  ///< precondition: announced
  backoff restarts;
  std::uint64_t restart_count = 0;
  std::string last_reason;  ///< of its deaths
  bool death_told = false;  ///< whether the last one was
  /// Loads that it must answer before the batcher may use it, and the model of each; only after a restart.
  std::map<std::uint64_t, std::uint64_t> awaited;
  bool announced = false;
  /// The models that belong on it, by id, and those of them that it has loaded.
  std::set<std::uint64_t> models;
  std::set<std::uint64_t> loaded;
};

/// A model that is on some cores.
struct model_entry {
  compiled_model model;
  std::size_t deployments = 0;
  warm_up found;  ///< at the latest one; places are alike where they were at each
};

/// A deployment on its way: a model that is being loaded on its cores.
struct operation {
  deploy wanted;
  caf::typed_response_promise<deployed> promise;
  /// Takes the place of what the coordinator serves.
  bool replaces = false;
  /// Null where it is made when all cores have the model.
  caf::actor_addr coordinator;
  std::shared_ptr<const deployment> target;
  std::set<std::size_t> awaited;  ///< cores that have not answered
  failure error;
  /// Who has asked for progress has its coordinator before the model is loaded.
  bool open() const { return static_cast<bool>(wanted.progress); }
};

/// A coordinator as its supervisor sees it.
struct coordinator_entry {
  std::uint64_t deployment = 0;  ///< what it serves
  /// The operation that loads its model, or the one that takes its place; 0: none.
  std::uint64_t operation = 0;
  /// What it served before, until everything accepted for that has run; 0: none.
  std::uint64_t leaving = 0;
  /// Replacements that wait for those before them, so that no more than two models of it are on the cores.
  std::deque<ganglion::operation> next;
};

/// The parts of a status that are still to come.
struct status_collection {
  status result;
  std::size_t missing = 0;
  std::map<std::uint64_t, std::uint64_t> told_as;  ///< of a model that leaves: the one that took its place
  std::function<void(const status&)> reply;        ///< null once it was called

  void part_came() {
    if (--missing == 0) answer();
  }
  /// With what has come.
  void answer() {
    if (auto to = std::exchange(reply, nullptr)) to(result);
  }
};

struct supervisor_state {
  supervisor_config config;
  batcher_actor batcher;
  std::vector<core_entry> cores;
  std::map<std::uint64_t, model_entry> models;
  std::map<std::uint64_t, std::shared_ptr<const deployment>> deployments;
  std::map<caf::actor_addr, coordinator_entry> coordinators;
  std::map<std::uint64_t, operation> operations;
  std::uint64_t last_operation = 0;
  std::map<std::uint64_t, caf::typed_response_promise<drained>> drains;
  std::uint64_t drain_generation = 0;
  std::vector<std::shared_ptr<status_collection>> collections;
  bool ending = false;
  caf::error exit_reason;

  static inline const char* name = "ganglion.supervisor";

  void say(std::string_view sentence) const {
    if (config.log) config.log(sentence);
  }
  /// Answers all deployments on their way, and those that wait, with a failure.
  void fail_operations(const failure& f);
};

using supervisor_pointer = supervisor_actor::stateful_pointer<supervisor_state>;

// cores.cpp: the lives of cores
void start_core(supervisor_pointer self, std::size_t index);
void core_went_down(supervisor_pointer self, const caf::down_msg& m);
/// Tells the batcher of a core that has all its models.
void announce_if_ready(supervisor_pointer self, std::size_t index);
void collect_status(supervisor_pointer self, std::function<void(const status&)> reply);

// deployments.cpp: models and who uses them
caf::result<deployed> on_deploy(supervisor_pointer self, const deploy& m);
void answer(operation& op, const deployed& result);
/// Sentence if the engine has no room for it now.
expected<void> check_room(const supervisor_state& s, const deployment& d);
/// Sends the model to the cores that lack it. Precondition: the operation has a target.
void begin(supervisor_pointer self, operation op);
/// Tells the batcher of the deployment.
void add_to_batcher(supervisor_pointer self, const operation& op, std::optional<std::size_t> num_workers);
/// One deployment less has the model: the cores let it go after the last.
void forget_model(supervisor_pointer self, std::uint64_t model_id);
void on_model_loaded(supervisor_pointer self, const model_loaded& m);
void on_deployment_removed(supervisor_pointer self, const deployment_removed& m);
/// Sends a core all the models that belong on it; what it must answer is in its `awaited`.
void load_all(supervisor_pointer self, std::size_t index);
/// Deployments on their way that wait for a core which went down fail.
void give_up_waiting_for(supervisor_pointer self, std::size_t index);

// replacements.cpp: one model in the place of another
caf::result<deployed> on_replace(supervisor_pointer self, const replace_model& m);
/// The model is on its cores: its coordinator is told to serve it.
void serve_instead(supervisor_pointer self, std::uint64_t id);
void on_served(supervisor_pointer self, const served& m);
/// Begins the coordinator's next replacement, unless something of it is under way.
void begin_next(supervisor_pointer self, const caf::actor_addr& coordinator);
/// Nothing accepted for the deployment is left: where it was replaced, the next replacement may begin.
void has_left(supervisor_pointer self, std::uint64_t deployment_id);
/// Its clients have let it go, or the engine ends.
void coordinator_went_down(supervisor_pointer self, coordinator_entry entry);

}  // namespace ganglion

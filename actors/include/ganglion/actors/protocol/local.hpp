#pragma once

#include <ganglion/actors/core/lane.hpp>

#include <caf/actor_control_block.hpp>
#include <caf/allowed_unsafe_message_type.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

/// The messages that hold pointers and stay inside the process: the one list of them.
namespace ganglion {

// -- to the coordinator ----------------------------------------------------------------------------------------------

/// A request that was checked and admitted by its sender.
struct submission {
  request_ptr value;
};

/// Rules for the requests that come after it; unset fields stay as they are.
struct configure {
  bool disable_dynamic_batching = false;
  std::optional<std::size_t> num_workers;
  std::optional<std::int64_t> split_size;
  bool unset_split_size = false;  ///< chunks are of the compiled batch again
};

/// The requests that come after it are for another deployment, which the batcher has: one of the same signature.
struct serve {
  std::uint64_t operation = 0;
  std::shared_ptr<const deployment> target;
};

/// A request that came by message was answered.
struct answered {
  std::uint64_t request_id = 0;
  std::shared_ptr<response> result;
  caf::strong_actor_ptr receiver;  ///< see `tell`
};

// -- to the batcher --------------------------------------------------------------------------------------------------

struct add_deployment {
  std::shared_ptr<const deployment> value;
  std::optional<std::size_t> num_workers;
  warm_up found;  ///< at the last one; nothing where there was none
  /// Those of its cores that are still loading its model.
  std::vector<std::size_t> loading;
};

/// One of the cores that were loading has the model.
struct model_on_core {
  std::shared_ptr<const deployment> target;
  std::size_t core = 0;
  warm_up found;
};

/// The model could not be loaded: nothing of the deployment will ever run.
struct deployment_failed {
  std::uint64_t id = 0;
  failure reason;
};

struct remove_deployment {
  std::uint64_t id = 0;
};

struct limit_workers {
  std::uint64_t deployment_id = 0;
  std::optional<std::size_t> num_workers;
};

struct enqueue {
  request_ptr value;
};

/// Ends a request with a failure: the rows that no lane is committing are dropped. Also to the supervisor, which passes
/// it on: it is there also when the coordinator that the request came through has gone. It may overtake the request,
/// which must be marked as cancelled before.
struct withdraw {
  std::uint64_t request_id = 0;
  failure reason;
  caf::strong_actor_ptr receiver;  ///< see `tell`
};

/// The gate was closed: a batch that is not full need not wait for rows that would fill it.
struct admission_closed {};

struct core_down {
  std::size_t index = 0;
  /// False: the core is given up until `core_up`, and what only it could run fails.
  bool returns = true;
};

/// A deadline has passed or a batch has waited for long enough.
struct batcher_tick {};

/// A core returns credits.
struct executions_done {
  std::size_t core = 0;
  std::shared_ptr<const std::vector<execution_report>> reports;
};

// -- to a core -------------------------------------------------------------------------------------------------------

struct load_model {
  compiled_model model;
  std::uint64_t operation = 0;
};

struct unload_model {
  std::uint64_t model_id = 0;
};

struct start_execution {
  execution_ptr work;
};

struct lane_loaded {
  load_report report;
  caf::strong_actor_ptr receiver;  ///< see `tell`
};

struct lane_finished {
  std::shared_ptr<const std::vector<execution_report>> reports;
  caf::strong_actor_ptr receiver;
};

struct lane_lost {
  std::string reason;
  caf::strong_actor_ptr receiver;
};

/// It is time to see whether the lane has hung.
struct look_at_lane {};

/// A core that was told to quit has waited for its lane for long enough.
struct end_core {};

// -- to the supervisor -----------------------------------------------------------------------------------------------

/// A core's answer to `load_model`.
struct model_loaded {
  std::size_t core = 0;
  std::uint64_t operation = 0;
  load_report report;
};

/// A coordinator's answer to `serve`: what it sent to the batcher before was for the old deployment, what it sends from
/// now on is for the new one.
struct served {
  std::uint64_t operation = 0;
};

/// The batcher's answer to `remove_deployment`: everything accepted for it has run.
struct deployment_removed {
  std::uint64_t id = 0;
};

/// It is time to start a core again.
struct restart_core {
  std::size_t index = 0;
};

}  // namespace ganglion

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::submission)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::configure)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::serve)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::answered)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::add_deployment)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::model_on_core)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::deployment_failed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::remove_deployment)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::limit_workers)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::enqueue)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::withdraw)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::admission_closed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::core_down)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::batcher_tick)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::executions_done)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::load_model)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::unload_model)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::start_execution)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::lane_loaded)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::lane_finished)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::lane_lost)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::look_at_lane)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::end_core)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::model_loaded)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::served)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::deployment_removed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::restart_core)

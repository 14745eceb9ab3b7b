#pragma once

#include <ganglion/actors/coordinator/warning_log.hpp>
#include <ganglion/actors/protocol/local.hpp>
#include <ganglion/actors/protocol/messages.hpp>
#include <ganglion/actors/protocol/type_ids.hpp>

#include <caf/actor_addr.hpp>
#include <caf/fwd.hpp>
#include <caf/typed_actor.hpp>

/// The typed handles. docs/protocol.md lists who answers what.
namespace ganglion {

/// Whoever can be asked how things are, and to come to an end.
using status_role = caf::typed_actor<caf::replies_to<status_query>::with<status>>;
using drain_role = caf::typed_actor<caf::replies_to<drain>::with<drained>>;

/// A NeuronCore.
using core_actor =
    caf::typed_actor<caf::replies_to<load_model>::with<model_loaded>, caf::reacts_to<unload_model>,
                     caf::reacts_to<start_execution>, caf::reacts_to<lane_loaded>, caf::reacts_to<lane_finished>,
                     caf::reacts_to<lane_lost>, caf::reacts_to<look_at_lane>, caf::reacts_to<end_core>,
                     caf::replies_to<status_query>::with<core_status>>;

/// A core is there, with all models that it should have.
struct core_up {
  std::size_t index = 0;
  core_actor handle;
};

/// The scheduler of an engine.
using batcher_actor =
    caf::typed_actor<caf::reacts_to<add_deployment>, caf::reacts_to<model_on_core>, caf::reacts_to<deployment_failed>,
                     caf::replies_to<remove_deployment>::with<deployment_removed>, caf::reacts_to<limit_workers>,
                     caf::reacts_to<enqueue>, caf::reacts_to<withdraw>, caf::reacts_to<admission_closed>,
                     caf::reacts_to<core_up>, caf::reacts_to<core_down>, caf::reacts_to<executions_done>,
                     caf::reacts_to<batcher_tick>>::extend_with<status_role>;

struct deployed;
struct replace_model;

/// The face of one deployment, and of those that take its place: what its clients talk to.
using coordinator_actor =
    caf::typed_actor<caf::replies_to<infer_request>::with<infer_response>, caf::reacts_to<cancel>,
                     caf::reacts_to<submission>, caf::reacts_to<configure>,
                     caf::replies_to<replace_model>::with<deployed>, caf::replies_to<serve>::with<served>,
                     caf::reacts_to<answered>>::extend_with<status_role>::extend_with<drain_role>;

/// The answer to `deploy` and to `replace_model`: a coordinator, or why not.
struct deployed {
  coordinator_actor coordinator;
  std::shared_ptr<const deployment> target;
  failure error;

  bool ok() const { return error.code == errc::ok; }
};

/// How far a deployment has come.
struct deployment_progress {
  coordinator_actor coordinator;
  std::size_t cores_ready = 0;  ///< have the model
  std::size_t cores = 0;        ///< are to have it
};

/// Asks for a model to be loaded on cores, and for a coordinator of it.
struct deploy {
  compiled_model model;
  /// Per-process core indices in the order to use; empty: all of the engine's.
  std::vector<std::size_t> cores;
  std::int64_t dim = 0;
  bool dynamic_batching = true;
  std::optional<std::size_t> num_workers;
  std::optional<std::int64_t> split_size;
  coalescing_options coalescing;
  /// See `make_program_set`.
  std::vector<double> pad_values;
  std::shared_ptr<warning_log> warnings;
  /// Called with the answer too, once, for who is no actor: by the supervisor, on a thread of its actor system's
  /// scheduler, so it must neither block nor throw. A supervisor that ended before it read the message destroys it
  /// uncalled.
  std::function<void(const deployed&)> reply;
  /// Where set: called at once with the coordinator, of which requests wait for the first core that has the model, and
  /// again for each core that has it. The coordinator is then kept by who was called and by nobody else; without it the
  /// deployment ends, ready or not.
  std::function<void(const deployment_progress&)> progress;
  /// What `make_deployment` made of the rest; null: the supervisor makes it.
  std::shared_ptr<const deployment> target;
};

/// Puts another model of the same signature in the place of the one that a coordinator serves. The coordinator stays,
/// and so do its settings; every request is answered by one of the two. Until the new model is on all cores that are
/// up, and where it cannot be loaded, the old one serves. Several for one coordinator are done in their order.
struct replace_model {
  compiled_model model;
  /// As that of `deploy`: called with the answer too, for who is no actor.
  std::function<void(const deployed&)> reply;
  /// What `make_replacement` made of the model; null: the supervisor makes it.
  std::shared_ptr<const deployment> target;
  /// Whose model it is. The coordinator fills it in where the message is sent to it.
  caf::actor_addr coordinator;
};

/// Asks for a status from outside of any actor. `reply` is called as that of `deploy` is.
struct status_for {
  std::function<void(const status&)> reply;
};

/// Nothing accepted is unanswered any more, or the bound of a drain has passed.
struct drain_ended {
  std::uint64_t generation = 0;
  caf::strong_actor_ptr receiver;  ///< see `tell`
};

/// The root of an engine.
using supervisor_actor =
    caf::typed_actor<caf::replies_to<deploy>::with<deployed>, caf::replies_to<replace_model>::with<deployed>,
                     caf::reacts_to<model_loaded>, caf::reacts_to<served>, caf::reacts_to<deployment_removed>,
                     caf::reacts_to<restart_core>, caf::reacts_to<drain_ended>, caf::reacts_to<withdraw>,
                     caf::reacts_to<status_for>>::extend_with<status_role>::extend_with<drain_role>;

/// The strong handle behind a weak one; null where the actor is gone.
template <class Handle>
Handle strengthen(const caf::weak_actor_ptr& weak) {
  return caf::actor_cast<Handle>(weak.lock());
}

/// Sends to an actor, if it is there, from a thread that is not CAF's. The reference that this takes travels in the
/// message and goes where the message is handled: were it the last one and went here, the actor would end on this
/// thread, for which the end of an `actor_system` does not wait.
template <class Message>
void tell(const caf::weak_actor_ptr& whom, Message m) {
  m.receiver = whom.lock();
  if (!m.receiver) return;
  auto* actor = m.receiver->get();
  actor->enqueue(nullptr, caf::make_message_id(), caf::make_message(std::move(m)), nullptr);
}

}  // namespace ganglion

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::core_up)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::deploy)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::deployed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::replace_model)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::status_for)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ganglion::drain_ended)

#include "supervisor/supervisor_state.hpp"

#include <ganglion/model_io/program_set.hpp>

#include <algorithm>
#include <utility>

namespace ganglion {

namespace {

const failure let_go{errc::cancelled, "nobody held the deployment any more before its model was replaced"};

/// Sentence if it cannot take the place of that deployment now.
expected<std::shared_ptr<const deployment>> target_of(const supervisor_state& s, std::uint64_t replaced,
                                                      const deploy& wanted) {
  auto old = s.deployments.find(replaced);
  if (old == s.deployments.end())
    return failure{errc::invalid_argument,
                   "the model that is to be replaced could not be loaded: deploy the new one instead"};
  auto made = wanted.target ? expected<std::shared_ptr<const deployment>>{wanted.target}
                            : make_replacement(*old->second, wanted.model);
  if (!made) return made.error();
  if (auto fits = check_room(s, **made); !fits) return fits.error();
  return made;
}

}  // namespace

expected<std::shared_ptr<const deployment>> make_replacement(const deployment& old, const compiled_model& model) {
  if (auto same = check_same_signature(old.model, model); !same) return same.error();
  deploy wanted{model, old.cores, old.rule().dim};
  wanted.coalescing = old.coalescing;
  wanted.pad_values = old.programs.pad_values;
  auto made = make_deployment(wanted,
                              old.cores.empty() ? 0 : *std::max_element(old.cores.begin(), old.cores.end()) + 1);
  if (!made) return made;
  auto result = std::make_shared<deployment>(**made);
  result->counters = old.counters;  // what became of its clients' requests is told as ever
  return result;
}

caf::result<deployed> on_replace(supervisor_pointer self, const replace_model& m) {
  auto& s = self->state;
  operation op{deploy{m.model}, self->make_response_promise<deployed>(), true, m.coordinator};
  op.wanted.reply = m.reply;
  op.wanted.target = m.target;
  auto promise = op.promise;
  auto found = s.coordinators.find(m.coordinator);
  if (s.ending) {
    answer(op, {{}, nullptr, {errc::draining, "the engine is ending and loads no more models"}});
  } else if (found == s.coordinators.end()) {
    answer(op, {{},
                nullptr,
                {errc::invalid_argument,
                 "the coordinator of which the model is to be replaced is not, or no more, one of this engine"}});
  } else {
    found->second.next.push_back(std::move(op));
    begin_next(self, m.coordinator);
  }
  return promise;
}

void begin_next(supervisor_pointer self, const caf::actor_addr& coordinator) {
  auto& s = self->state;
  auto& entry = s.coordinators.at(coordinator);
  while (entry.operation == 0 && entry.leaving == 0 && !entry.next.empty()) {
    auto op = std::move(entry.next.front());
    entry.next.pop_front();
    auto target = target_of(s, entry.deployment, op.wanted);
    if (target) {
      op.target = *target;
      begin(self, std::move(op));
    } else {
      answer(op, {{}, nullptr, target.error()});
    }
  }
}

void serve_instead(supervisor_pointer self, std::uint64_t id) {
  auto& s = self->state;
  const auto& op = s.operations.at(id);
  auto coordinator = caf::actor_cast<coordinator_actor>(op.coordinator);
  if (!coordinator) return;  // that it went down is on its way
  // It sets the cap on executions itself, as it was told it.
  add_to_batcher(self, op, {});
  self->send(coordinator, serve{id, op.target});
}

void on_served(supervisor_pointer self, const served& m) {
  auto& s = self->state;
  auto node = s.operations.extract(m.operation);
  if (!node) return;  // the engine is ending
  auto& op = node.mapped();
  auto& entry = s.coordinators.at(op.coordinator);
  entry.operation = 0;
  entry.leaving = std::exchange(entry.deployment, op.target->id);
  // Whatever the coordinator sent for the old one is in the batcher's mailbox: it was sent before this answer.
  self->send(s.batcher, remove_deployment{entry.leaving});
  answer(op, {caf::actor_cast<coordinator_actor>(op.coordinator), op.target, {}});
}

void has_left(supervisor_pointer self, std::uint64_t deployment_id) {
  for (auto& [address, entry] : self->state.coordinators)
    if (entry.leaving == deployment_id) {
      entry.leaving = 0;
      return begin_next(self, address);
    }
}

void coordinator_went_down(supervisor_pointer self, coordinator_entry entry) {
  auto& s = self->state;
  if (s.batcher) self->send(s.batcher, remove_deployment{entry.deployment});
  auto found = s.operations.find(entry.operation);
  if (found != s.operations.end() && found->second.replaces) {
    auto node = s.operations.extract(found);
    auto& op = node.mapped();
    if (s.deployments.contains(op.target->id))
      self->send(s.batcher, remove_deployment{op.target->id});
    else
      forget_model(self, op.target->model.id());
    answer(op, {{}, nullptr, let_go});
  }
  for (auto& op : entry.next) answer(op, {{}, nullptr, let_go});
}

}  // namespace ganglion

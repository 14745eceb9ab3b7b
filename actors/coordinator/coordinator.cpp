#include <ganglion/actors/coordinator/coordinator.hpp>

#include <ganglion/model_io/value_tree.hpp>

#include <caf/all.hpp>
#include <fmt/format.h>

#include <map>
#include <set>

namespace ganglion {

expected<void> validate(const configure& settings) {
  if (settings.num_workers && *settings.num_workers == 0)
    return failure{
        errc::invalid_argument,
        "num_workers is 0, but at least 1 execution must be in flight: give a positive number, or leave it unset"};
  if (settings.split_size && *settings.split_size <= 0)
    return failure{
        errc::invalid_argument,
        fmt::format("split_size is {}, but a chunk needs at least 1 row: give a positive number, or leave it unset",
                    *settings.split_size)};
  return {};
}

expected<void> validate(const coordinator_config& config) {
  const char* missing = !config.target       ? "target, the deployment that it serves,"
                        : !config.gate       ? "gate, which lets requests in,"
                        : !config.batcher    ? "batcher, which runs them,"
                        : !config.supervisor ? "supervisor, which answers for the engine,"
                                             : nullptr;
  if (missing != nullptr) return failure{errc::invalid_argument, fmt::format("a coordinator's {} is not set", missing)};
  return validate(configure{false, config.num_workers, config.split_size});
}

namespace {

/// Answers a request that came by message exactly once: at the latest when it is destroyed, since a promise of CAF's
/// that is dropped sends nothing.
class answer_once {
 public:
  answer_once(caf::typed_response_promise<infer_response> promise, const infer_request& r)
      : promise_(std::move(promise)), id_(r.id), trace_id_(r.trace_id), received_(clock::now()) {}
  answer_once(answer_once&&) = default;
  ~answer_once() {
    if (promise_.pending())
      deliver(
          {{}, {errc::draining, "the engine ended before the request was answered: send it to another engine"}, {}});
  }

  void deliver(response result) {
    infer_response response{id_, {std::move(result.outputs)}, std::move(result.error), trace_id_,
                            std::chrono::nanoseconds(clock::now() - received_).count(), std::move(result.timing)};
    std::exchange(promise_, {}).deliver(std::move(response));
  }

 private:
  caf::typed_response_promise<infer_response> promise_;
  std::uint64_t id_;
  std::string trace_id_;
  clock::time_point received_;
};

/// A request as its sender calls it.
using senders_key = std::pair<caf::actor_addr, std::uint64_t>;

/// A request that came by message and is not answered yet.
struct record {
  answer_once answer;
  senders_key sender;
};

struct coordinator_state {
  coordinator_config config;
  std::map<std::uint64_t, record> records;
  std::map<senders_key, std::uint64_t> ids;  // of the records
  std::set<caf::actor_addr> clients;         // those that are monitored

  static inline const char* name = "ganglion.coordinator";
};

using coordinator_pointer = coordinator_actor::stateful_pointer<coordinator_state>;

void warn_of(coordinator_pointer self, const request& r) {
  const auto& config = self->state.config;
  if (!config.warnings) return;
  if (!r.dynamic_batching() && config.split_size)
    config.warnings->add("split_size",
                         fmt::format("split_size = {} has no meaning while dynamic batching is off: each core "
                                     "gets one chunk of the compiled size",
                                     *config.split_size));
  auto executions = r.chunks().executions();
  // Without dynamic batching a request that fits uses every core, and any other is refused.
  if (r.dynamic_batching() && r.given_rows() > 0 && executions < r.target().cores.size())
    config.warnings->add("under_used",
                         fmt::format("a request of {} row{} needs {} execution{} of up to {} rows: of {} cores some "
                                     "stay idle",
                                     r.rows(), r.rows() == 1 ? "" : "s", executions, executions == 1 ? "" : "s",
                                     r.chunks().batch(), r.target().cores.size()));
}

/// Fixes the rules for a request and passes it on.
void accept(coordinator_pointer self, request_ptr r) {
  const auto& config = self->state.config;
  // It may have been checked by the signature of a model that was replaced meanwhile.
  if (&r->target() != config.target.get()) r->retarget(config.target);
  r->plan(config.dynamic_batching, config.split_size);
  if (r->rows() == 0 && config.dynamic_batching) {
    if (r->is_wanted(self->clock().now()))
      r->answer_empty();
    else
      r->refuse(r->is_cancelled() ? cancelled_by_caller() : past_deadline());
    return;
  }
  warn_of(self, *r);
  self->send(config.batcher, enqueue{std::move(r)});
}

void withdraw_request(coordinator_pointer self, std::uint64_t id, failure reason) {
  self->send(self->state.config.batcher, withdraw{id, std::move(reason), {}});
}

/// A client is monitored from its first request on: what it waits for is not run for nobody when it goes away.
void monitor_client(coordinator_pointer self, const caf::actor_addr& client) {
  if (client && self->state.clients.insert(client).second) self->monitor(client);
}

void on_down(coordinator_pointer self, const caf::down_msg& m) {
  auto& s = self->state;
  s.clients.erase(m.source);
  for (auto open = s.ids.lower_bound({m.source, 0}); open != s.ids.end() && open->first.first == m.source; ++open)
    withdraw_request(self, open->second, {errc::cancelled, "the client that sent the request has ended"});
}

/// Checks a request that came by message and makes the engine's own of it.
expected<request_ptr> make_request(coordinator_pointer self, std::uint64_t id, const infer_request& m) {
  const auto& config = self->state.config;
  const auto& model = config.target->model;
  if (!m.model.content_hash.empty() && m.model.content_hash != model.content_hash())
    return failure{errc::invalid_argument,
                   fmt::format("the request is for the model {}, but this coordinator serves {}", m.model.content_hash,
                               model.content_hash())};
  if (!m.inputs.value.isTuple())
    return failure{errc::shape_mismatch,
                   fmt::format("inputs is a {}, but must be a tuple with one element for each argument of the model",
                               describe(m.inputs.value))};
  auto checked = match_inputs(model, config.target->programs, m.inputs.value.toTupleRef().elements().vec());
  if (!checked) return checked.error();
  request_options options;
  options.priority = static_cast<priority>(m.priority);
  if (auto valid = validate(options); !valid) return valid.error();
  options.tenant = m.tenant;
  if (m.remaining_ms != 0)
    options.deadline =
        self->clock().now() + std::chrono::milliseconds(std::clamp(m.remaining_ms, -longest_ms, longest_ms));
  auto weak = caf::actor_cast<caf::weak_actor_ptr>(self->ctrl());
  auto deliver = [weak, id](response&& result) {
    tell(weak, answered{id, std::make_shared<response>(std::move(result)), {}});
  };
  return request::admit(id, config.target, std::move(*checked), config.gate, std::move(deliver), std::move(options));
}

caf::result<infer_response> on_infer(coordinator_pointer self, const infer_request& m) {
  auto& s = self->state;
  senders_key key{caf::actor_cast<caf::actor_addr>(self->current_sender()), m.id};
  auto promise = self->make_response_promise<infer_response>();
  if (!key.first) {  // nobody waits for it
    s.config.target->counters->refused(errc::cancelled);
    return promise;
  }
  answer_once answer{promise, m};
  if (s.ids.contains(key)) {
    s.config.target->counters->refused(errc::invalid_argument);
    answer.deliver({{},
                    {errc::invalid_argument, fmt::format("the request id {} is in use: a sender's ids must be unique "
                                                         "among its unanswered requests",
                                                         m.id)},
                    {}});
    return promise;
  }
  auto id = request::next_id();
  auto made = make_request(self, id, m);
  if (!made) {
    s.config.target->counters->refused(made.error().code);
    answer.deliver({{}, made.error(), {}});
    return promise;
  }
  s.records.emplace(id, record{std::move(answer), key});
  s.ids.emplace(key, id);
  monitor_client(self, key.first);
  accept(self, std::move(*made));
  return promise;
}

void on_cancel(coordinator_pointer self, const cancel& m) {
  auto found = self->state.ids.find({caf::actor_cast<caf::actor_addr>(self->current_sender()), m.id});
  if (found != self->state.ids.end())
    withdraw_request(self, found->second,
                     {errc::cancelled, fmt::format("the request {} was cancelled by its sender", m.id)});
}

void on_answered(coordinator_pointer self, const answered& m) {
  auto& s = self->state;
  auto node = s.records.extract(m.request_id);
  if (!node) return;
  auto& r = node.mapped();
  s.ids.erase(r.sender);
  r.answer.deliver(std::move(*m.result));
}

void on_configure(coordinator_pointer self, const configure& m) {
  auto& config = self->state.config;
  if (m.disable_dynamic_batching) config.dynamic_batching = false;
  if (m.split_size || m.unset_split_size) config.split_size = m.split_size;
  if (m.num_workers) {
    config.num_workers = m.num_workers;
    self->send(config.batcher, limit_workers{config.target->id, m.num_workers});
  }
}

served on_serve(coordinator_pointer self, const serve& m) {
  auto& config = self->state.config;
  config.target = m.target;
  if (config.num_workers) self->send(config.batcher, limit_workers{config.target->id, config.num_workers});
  if (config.warnings)
    for (const auto& sentence : config.target->model.warnings()) config.warnings->add(sentence, sentence);
  return {m.operation};
}

coordinator_actor::behavior_type coordinator_behavior(coordinator_pointer self, coordinator_config config) {
  self->state.config = std::move(config);
  self->set_down_handler([self](const caf::down_msg& m) { on_down(self, m); });
  return {
      [self](const infer_request& m) { return on_infer(self, m); },
      [self](const cancel& m) { on_cancel(self, m); },
      [self](const submission& m) { accept(self, m.value); },
      [self](const configure& m) { on_configure(self, m); },
      [self](const replace_model& m) {
        auto of_mine = m;
        of_mine.coordinator = self->address();
        return self->delegate(self->state.config.supervisor, std::move(of_mine));
      },
      [self](const serve& m) { return on_serve(self, m); },
      [self](const answered& m) { on_answered(self, m); },
      [self](const status_query& m) { return self->delegate(self->state.config.supervisor, m); },
      [self](const drain& m) { return self->delegate(self->state.config.supervisor, m); },
  };
}

}  // namespace

coordinator_actor spawn_coordinator(caf::local_actor& parent, coordinator_config config) {
  if (auto valid = validate(config); !valid) throw error(valid.error());
  return parent.spawn(coordinator_behavior, std::move(config));
}

}  // namespace ganglion

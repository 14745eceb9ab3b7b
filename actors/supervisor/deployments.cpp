#include "supervisor/supervisor_state.hpp"

#include <ganglion/actors/coordinator/coordinator.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <numeric>

namespace ganglion {

namespace {

std::uint64_t next_deployment_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

std::size_t bytes_on(const supervisor_state& s, std::size_t core) {
  std::size_t bytes = 0;
  for (auto id : s.cores[core].models) bytes += s.models.at(id).model.weight_bytes();
  return bytes;
}

expected<std::shared_ptr<const deployment>> target_of(const supervisor_state& s, const deploy& m) {
  if (s.ending) return failure{errc::draining, "the engine is ending and loads no more models"};
  auto made = m.target ? expected<std::shared_ptr<const deployment>>{m.target} : make_deployment(m, s.cores.size());
  if (!made) return made.error();
  if (auto fits = check_room(s, **made); !fits) return fits.error();
  return made;
}

void add_warnings(const deployment& d, const deploy& m) {
  if (!m.warnings) return;
  for (const auto& sentence : d.model.warnings()) m.warnings->add(sentence, sentence);
  if (!m.dynamic_batching) return;
  const auto& rule = d.rule();
  if (!rule.is_batch_dim)
    m.warnings->add("not_eligible",
                    fmt::format("dynamic batching is disabled because dim = {} is not 0: input.shape[{}] must be {} "
                                "times the number of cores",
                                rule.dim, rule.dim, fmt::join(d.programs.buckets.front().sizes, " or ")));
  else if (auto why_not = d.model.not_eligible(); !why_not.empty())
    m.warnings->add("not_eligible", fmt::format("dynamic batching cannot be enabled: {}", why_not));
}

void warn_of_vectors(const deployment& d, const deploy& m) {
  if (!m.warnings) return;
  for (std::size_t i = 0; i < d.rule().out_axis.size(); ++i)
    if (d.rule().out_axis[i] < 0)
      m.warnings->add(
          "scalar_outputs",
          fmt::format("output {} is 0-dimensional: it is gathered as a vector with one element for each chunk",
                      d.model.outputs()[i].name));
}

/// Lets requests in: tells the batcher, and makes the coordinator.
coordinator_actor add_coordinator(supervisor_pointer self, const operation& op) {
  auto& s = self->state;
  const auto& m = op.wanted;
  const auto& d = op.target;
  add_warnings(*d, m);
  warn_of_vectors(*d, m);
  add_to_batcher(self, op, m.num_workers);
  bool dynamic = m.dynamic_batching && d->rule().is_batch_dim && d->model.not_eligible().empty();
  auto coordinator = spawn_coordinator(*self, {d, s.config.gate, m.warnings, s.batcher, supervisor_actor{self}, dynamic,
                                               m.num_workers, m.split_size});
  self->monitor(coordinator);
  s.coordinators[coordinator.address()].deployment = d->id;
  return coordinator;
}

void tell_progress(const supervisor_state& s, const operation& op) {
  auto model_id = op.target->model.id();
  auto has_it = [&](auto core) { return s.cores[core].loaded.contains(model_id); };
  const auto& cores = op.target->cores;
  auto ready = static_cast<std::size_t>(std::count_if(cores.begin(), cores.end(), has_it));
  op.wanted.progress({caf::actor_cast<coordinator_actor>(op.coordinator), ready, cores.size()});
}

/// All cores have answered.
void complete(supervisor_pointer self, std::uint64_t id) {
  auto& s = self->state;
  auto found = s.operations.find(id);
  bool ok = found->second.error.code == errc::ok;
  if (ok && found->second.replaces) return serve_instead(self, id);
  auto node = s.operations.extract(found);
  auto& op = node.mapped();
  if (ok) {
    answer(op, {op.open() ? caf::actor_cast<coordinator_actor>(op.coordinator) : add_coordinator(self, op), op.target,
                {}});
  } else {
    if (op.open()) {
      s.deployments.erase(op.target->id);
      // Before the cores are told to let the model go: the batcher has failed what they cannot run then.
      self->send(s.batcher, deployment_failed{op.target->id, op.error});
    }
    forget_model(self, op.target->model.id());
    answer(op, {{}, nullptr, op.error});
  }
  if (auto entry = s.coordinators.find(op.coordinator); entry != s.coordinators.end()) {
    entry->second.operation = 0;
    begin_next(self, op.coordinator);
  }
}

}  // namespace

void supervisor_state::fail_operations(const failure& f) {
  auto all = std::move(operations);
  operations.clear();
  for (auto& [id, op] : all) answer(op, {{}, nullptr, f});
  for (auto& [address, entry] : coordinators)
    for (auto& op : std::exchange(entry.next, {})) answer(op, {{}, nullptr, f});
}

void answer(operation& op, const deployed& result) {
  op.promise.deliver(result);
  if (op.wanted.reply) op.wanted.reply(result);
}

expected<void> check_room(const supervisor_state& s, const deployment& d) {
  auto limit = s.config.core_memory_bytes;
  if (!limit) return {};
  for (auto core : d.cores) {
    auto needed = s.cores[core].models.contains(d.model.id()) ? 0 : d.model.weight_bytes();
    auto used = bytes_on(s, core);
    if (used + needed > *limit)
      return failure{
          errc::core_memory_exceeded,
          fmt::format("the model needs {} bytes on core nc:{}, where {} of {} are in use: unload another model or "
                      "raise core_memory_bytes",
                      needed, core, used, *limit)};
  }
  return {};
}

void add_to_batcher(supervisor_pointer self, const operation& op, std::optional<std::size_t> num_workers) {
  auto& s = self->state;
  const auto& d = op.target;
  self->send(s.batcher, add_deployment{d, num_workers, s.models.at(d->model.id()).found,
                                       {op.awaited.begin(), op.awaited.end()}});
  s.deployments.emplace(d->id, d);
}

void forget_model(supervisor_pointer self, std::uint64_t model_id) {
  auto& s = self->state;
  auto found = s.models.find(model_id);
  if (found == s.models.end() || --found->second.deployments > 0) return;
  s.models.erase(found);
  for (std::size_t i = 0; i < s.cores.size(); ++i) {
    auto& c = s.cores[i];
    c.loaded.erase(model_id);
    if (c.models.erase(model_id) > 0 && c.handle) self->send(c.handle, unload_model{model_id});
    if (std::erase_if(c.awaited, [model_id](const auto& load) { return load.second == model_id; }) > 0)
      announce_if_ready(self, i);
  }
}

expected<std::shared_ptr<const deployment>> make_deployment(const deploy& wanted, std::size_t core_count) {
  if (auto valid = validate(configure{false, wanted.num_workers, wanted.split_size}); !valid) return valid.error();
  if (auto valid = validate(wanted.coalescing); !valid) return valid.error();
  auto programs = make_program_set(wanted.model, wanted.dim, wanted.pad_values);
  if (!programs) return programs.error();
  auto cores = wanted.cores;
  if (cores.empty()) {
    cores.resize(core_count);
    std::iota(cores.begin(), cores.end(), std::size_t{0});
  }
  std::set<std::size_t> seen;
  for (auto core : cores) {
    if (core >= core_count)
      return failure{errc::invalid_device_id,
                     fmt::format("there is no core nc:{}: {} are visible", core, core_count)};
    if (!seen.insert(core).second)
      return failure{errc::invalid_device_id, fmt::format("core nc:{} is named twice: give each core once", core)};
  }
  return std::make_shared<const deployment>(deployment{next_deployment_id(), wanted.model, std::move(*programs),
                                                       std::move(cores), countable(wanted.coalescing)});
}

caf::result<deployed> on_deploy(supervisor_pointer self, const deploy& m) {
  operation op{m, self->make_response_promise<deployed>()};
  auto promise = op.promise;
  auto target = target_of(self->state, m);
  if (target) {
    op.target = *target;
    begin(self, std::move(op));
  } else {
    answer(op, {{}, nullptr, target.error()});
  }
  return promise;
}

void begin(supervisor_pointer self, operation op) {
  auto& s = self->state;
  auto id = ++s.last_operation;
  const auto& model = op.target->model;
  auto model_id = model.id();
  ++s.models.try_emplace(model_id, model_entry{model, 0, {}}).first->second.deployments;
  for (auto core : op.target->cores) {
    auto& c = s.cores[core];
    c.models.insert(model_id);
    // A core that is down loads it when it comes back; one that has it already need not load it again. One that is
    // loading it does it twice: whether it can is known when it answers.
    if (!c.handle || c.loaded.contains(model_id)) continue;
    op.awaited.insert(core);
    self->send(c.handle, load_model{model, id});
  }
  if (op.open()) {
    auto coordinator = add_coordinator(self, op);
    op.coordinator = coordinator.address();
    tell_progress(s, op);
  }
  if (op.coordinator) s.coordinators.at(op.coordinator).operation = id;
  bool ready = op.awaited.empty();
  s.operations.emplace(id, std::move(op));
  if (ready) complete(self, id);
}

void on_model_loaded(supervisor_pointer self, const model_loaded& m) {
  auto& s = self->state;
  auto& c = s.cores[m.core];
  auto found = s.operations.find(m.operation);
  bool after_restart = c.awaited.erase(m.operation) > 0;
  if (!after_restart && found == s.operations.end()) return;  // it is wanted no more
  bool ok = m.report.error.code == errc::ok;
  if (ok) {
    auto& found = s.models.at(m.report.model_id).found;
    const auto alike_before = found.seconds.empty() || found.places_are_alike;
    found = m.report.found;
    found.places_are_alike &= alike_before;
    c.loaded.insert(m.report.model_id);
  }
  if (after_restart) {
    // A core without a model that belongs on it would fail that model's requests: it is started once more.
    if (ok)
      announce_if_ready(self, m.core);
    else
      self->send_exit(c.handle, caf::make_error(caf::sec::runtime_error, m.report.error.text));
    return;
  }
  auto& op = found->second;
  op.awaited.erase(m.core);
  if (!ok)
    op.error = m.report.error;
  else if (op.open()) {
    self->send(s.batcher, model_on_core{op.target, m.core, m.report.found});
    tell_progress(s, op);
  }
  if (op.awaited.empty()) complete(self, m.operation);
}

void on_deployment_removed(supervisor_pointer self, const deployment_removed& m) {
  auto& s = self->state;
  auto found = s.deployments.find(m.id);
  if (found == s.deployments.end()) return;
  auto model_id = found->second->model.id();
  s.deployments.erase(found);
  auto is_its = [&m](const auto& entry) { return entry.second.target->id == m.id; };
  if (auto op = std::find_if(s.operations.begin(), s.operations.end(), is_its); op != s.operations.end()) {
    auto node = s.operations.extract(op);
    answer(node.mapped(),
           {{}, nullptr, {errc::cancelled, "nobody held the deployment any more before its model was loaded"}});
  }
  forget_model(self, model_id);
  has_left(self, m.id);
}

void load_all(supervisor_pointer self, std::size_t index) {
  auto& s = self->state;
  auto& c = s.cores[index];
  for (auto id : c.models) {
    auto operation = ++s.last_operation;
    c.awaited.emplace(operation, id);
    self->send(c.handle, load_model{s.models.at(id).model, operation});
  }
}

void give_up_waiting_for(supervisor_pointer self, std::size_t index) {
  auto& s = self->state;
  std::vector<std::uint64_t> complete_now;
  for (auto& [id, op] : s.operations) {
    if (op.awaited.erase(index) == 0) continue;
    op.error = {errc::core_lost, fmt::format("core nc:{} was lost while it loaded the model: try again", index), -1, -1,
                static_cast<std::int32_t>(index)};
    if (op.awaited.empty()) complete_now.push_back(id);
  }
  for (auto id : complete_now) complete(self, id);
}

}  // namespace ganglion

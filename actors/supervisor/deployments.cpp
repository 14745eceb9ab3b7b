#include "supervisor/supervisor_state.hpp"

#include <ganglion/actors/coordinator/coordinator.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <atomic>
#include <numeric>

namespace ganglion {

namespace {

std::uint64_t next_deployment_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

void answer(operation& op, const deployed& result) {
  op.promise.deliver(result);
  if (op.wanted.reply) op.wanted.reply(result);
}

std::size_t bytes_on(const supervisor_state& s, std::size_t core) {
  std::size_t bytes = 0;
  for (auto id : s.cores[core].models) bytes += s.models.at(id).model.weight_bytes();
  return bytes;
}

/// Sentence if a deployment cannot be made.
expected<std::shared_ptr<const deployment>> make_deployment(const supervisor_state& s, const deploy& m) {
  if (s.ending) return failure{errc::draining, "the engine is ending and loads no more models"};
  if (auto valid = validate(configure{false, m.num_workers, m.split_size}); !valid) return valid.error();
  if (auto valid = validate(m.coalescing); !valid) return valid.error();
  auto programs = make_program_set(m.model, m.dim, m.pad_values);
  if (!programs) return programs.error();
  auto cores = m.cores;
  if (cores.empty()) {
    cores.resize(s.cores.size());
    std::iota(cores.begin(), cores.end(), std::size_t{0});
  }
  std::set<std::size_t> seen;
  for (auto core : cores) {
    if (core >= s.cores.size())
      return failure{errc::invalid_device_id,
                     fmt::format("there is no core nc:{}: {} are visible", core, s.cores.size())};
    if (!seen.insert(core).second)
      return failure{errc::invalid_device_id, fmt::format("core nc:{} is named twice: give each core once", core)};
    auto limit = s.config.core_memory_bytes;
    auto needed = s.cores[core].models.contains(m.model.id()) ? 0 : m.model.weight_bytes();
    auto used = bytes_on(s, core);
    if (limit && used + needed > *limit)
      return failure{
          errc::core_memory_exceeded,
          fmt::format("the model needs {} bytes on core nc:{}, where {} of {} are in use: unload another model or "
                      "raise core_memory_bytes",
                      needed, core, used, *limit)};
  }
  return std::make_shared<const deployment>(
      deployment{next_deployment_id(), m.model, std::move(*programs), std::move(cores), m.coalescing});
}

void forget_model(supervisor_pointer self, std::uint64_t model_id) {
  auto& s = self->state;
  auto found = s.models.find(model_id);
  if (found == s.models.end() || --found->second.deployments > 0) return;
  for (auto& c : s.cores) {
    c.loaded.erase(model_id);
    if (c.models.erase(model_id) > 0 && c.handle) self->send(c.handle, unload_model{model_id});
  }
  s.models.erase(found);
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

/// All cores have answered: makes the coordinator, or fails.
void complete(supervisor_pointer self, std::uint64_t id) {
  auto& s = self->state;
  auto node = s.operations.extract(id);
  auto& op = node.mapped();
  if (op.error.code != errc::ok) {
    forget_model(self, op.target->model.id());
    answer(op, {{}, nullptr, op.error});
    return;
  }
  const auto& m = op.wanted;
  const auto& d = op.target;
  add_warnings(*d, m);
  warn_of_vectors(*d, m);
  self->send(s.batcher, add_deployment{d, m.num_workers, s.models.at(d->model.id()).seconds});
  s.deployments.emplace(d->id, d);
  bool dynamic = m.dynamic_batching && d->rule().is_batch_dim && d->model.not_eligible().empty();
  auto coordinator = spawn_coordinator(*self, {d, s.config.gate, m.warnings, s.batcher, supervisor_actor{self}, dynamic,
                                               m.num_workers, m.split_size});
  self->monitor(coordinator);
  s.coordinators.emplace(coordinator.address(), d->id);
  answer(op, {coordinator, d, {}});
}

}  // namespace

void supervisor_state::fail_operations(const failure& f) {
  auto all = std::move(operations);
  operations.clear();
  for (auto& [id, op] : all) answer(op, {{}, nullptr, f});
}

caf::result<deployed> on_deploy(supervisor_pointer self, const deploy& m) {
  auto& s = self->state;
  operation op{m, nullptr, self->make_response_promise<deployed>(), {}, {}};
  auto promise = op.promise;
  auto made = make_deployment(s, m);
  if (!made) {
    answer(op, {{}, nullptr, made.error()});
    return promise;
  }
  op.target = *made;
  auto id = ++s.last_operation;
  auto model_id = m.model.id();
  ++s.models.try_emplace(model_id, model_entry{m.model, 0, {}}).first->second.deployments;
  for (auto core : op.target->cores) {
    auto& c = s.cores[core];
    c.models.insert(model_id);
    // A core that is down loads it when it comes back; one that has it already need not load it again. One that is
    // loading it does it twice: whether it can is known when it answers.
    if (!c.handle || c.loaded.contains(model_id)) continue;
    op.awaited.insert(core);
    self->send(c.handle, load_model{m.model, id});
  }
  bool ready = op.awaited.empty();
  s.operations.emplace(id, std::move(op));
  if (ready) complete(self, id);
  return promise;
}

void on_model_loaded(supervisor_pointer self, const model_loaded& m) {
  auto& s = self->state;
  auto& c = s.cores[m.core];
  if (auto model = s.models.find(m.report.model_id); model != s.models.end() && m.report.error.code == errc::ok) {
    model->second.seconds = m.report.seconds;
    if (c.models.contains(m.report.model_id)) c.loaded.insert(m.report.model_id);
  }
  if (c.awaited.erase(m.operation) > 0) {
    // A core without a model that belongs on it would fail that model's requests: it is started once more.
    if (m.report.error.code != errc::ok)
      self->send_exit(c.handle, caf::make_error(caf::sec::runtime_error, m.report.error.text));
    else
      announce_if_ready(self, m.core);
    return;
  }
  auto found = s.operations.find(m.operation);
  if (found == s.operations.end()) return;
  if (m.report.error.code != errc::ok) found->second.error = m.report.error;
  found->second.awaited.erase(m.core);
  if (found->second.awaited.empty()) complete(self, m.operation);
}

void on_deployment_removed(supervisor_pointer self, const deployment_removed& m) {
  auto& s = self->state;
  auto found = s.deployments.find(m.id);
  if (found == s.deployments.end()) return;
  auto model_id = found->second->model.id();
  s.deployments.erase(found);
  forget_model(self, model_id);
}

void load_all(supervisor_pointer self, std::size_t index) {
  auto& s = self->state;
  auto& c = s.cores[index];
  for (auto id : c.models) {
    auto operation = ++s.last_operation;
    c.awaited.insert(operation);
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

// What a CAF program outside of this one writes: a model, an engine in its own actor system, and a request by message.
#include <ganglion/actors/supervisor/supervisor.hpp>
#include <ganglion/model_io/model.hpp>

#include <ATen/ATen.h>
#include <caf/all.hpp>
#include <torch/csrc/jit/api/module.h>

#include <chrono>
#include <cstdio>
#include <stdexcept>

namespace {

constexpr auto patience = std::chrono::minutes(1);

struct settings : caf::actor_system_config {
  settings() { add_message_types<caf::id_block::ganglion>(); }
};

/// Asks an actor, and waits for its answer.
template <class Answer, class Actor, class Question>
Answer ask(caf::scoped_actor& self, const Actor& actor, Question question) {
  Answer result;
  self->request(actor, patience, std::move(question))
      .receive([&](Answer& answer) { result = std::move(answer); },
               [](const caf::error& e) { throw std::runtime_error(caf::to_string(e)); });
  if (!result.ok()) throw ganglion::error(result.error);
  return result;
}

}  // namespace

int main() try {
  torch::jit::Module module("twice_plus_one");
  module.define("def forward(self, x):\n    return x * 2 + 1\n");
  module.eval();

  settings config;
  caf::actor_system system(config);
  caf::scoped_actor self(system);
  const auto engine = ganglion::spawn_supervisor(system, ganglion::cpu_cores(2));
  const auto compiled = ganglion::trace(module, {at::rand({4, 3})});
  const auto model = ask<ganglion::deployed>(self, engine, ganglion::deploy{compiled});

  const auto input = at::rand({10, 3});
  ganglion::infer_request request;
  request.id = 1;
  request.inputs.value = c10::ivalue::Tuple::create({input});
  const auto answer = ask<ganglion::infer_response>(self, model.coordinator, std::move(request));
  const bool right = at::equal(answer.outputs.value.toTensor(), input * 2 + 1);
  std::printf("10 rows by message on 2 cores, compiled for 4: %s\n", right ? "right" : "WRONG");
  return right ? 0 : 1;
} catch (const ganglion::error& e) {
  std::fprintf(stderr, "error[%s]: %s\n", ganglion::to_string(e.failure().code).data(), e.what());
  return 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}

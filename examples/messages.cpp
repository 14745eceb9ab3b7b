// Ganglion by messages. A CAF program with an actor_system of its own spawns Ganglion's actors in it, has a model
// loaded and talks to its coordinator: requests, an error, a cancelled request, a status and a drain. Only the
// message face is linked. At the end there is nothing to shut down: the handles go out of scope, and the actor_system
// ends.
#include <ganglion/actors/supervisor/supervisor.hpp>
#include <ganglion/model_io/model.hpp>

#include <ATen/ATen.h>
#include <caf/all.hpp>
#include <fmt/format.h>
#include <torch/csrc/jit/api/module.h>

#include <chrono>
#include <cstdio>
#include <string>

namespace {

using namespace ganglion;

constexpr std::int64_t compiled_batch = 4;
constexpr std::int64_t width = 128;
constexpr auto patience = std::chrono::minutes(3);

// A layer that is applied many times, so that a request of many rows takes long enough to be cancelled.
torch::jit::Module repeated_layer() {
  torch::jit::Module module("repeated_layer");
  module.register_parameter("weight", at::randn({width, width}) / 12, false);
  module.define(R"(
    def forward(self, x):
        for _ in range(100):
            x = torch.tanh(torch.matmul(x, self.weight))
        return x
  )");
  module.eval();
  return module;
}

at::Tensor rows(std::int64_t count) { return at::randn({count, width}); }

infer_request request_of(std::uint64_t id, at::Tensor input) {
  infer_request result;
  result.id = id;
  result.inputs.value = c10::ivalue::Tuple::create({std::move(input)});  // one element for each argument of forward
  result.remaining_ms = std::chrono::milliseconds(patience).count();
  return result;
}

// What the client wants to see, and whether it has.
class report {
 public:
  void step(std::string_view what, bool as_expected) {
    fmt::print("messages: {}{}\n", what, as_expected ? "" : ": NOT AS EXPECTED");
    if (!as_expected) all_good_ = false;
  }
  void step(std::string_view what, const infer_response& r, errc wanted) {
    step(fmt::format("{}: {}{}", what, to_string(r.error.code), r.ok() ? "" : ", " + r.error.text),
         r.error.code == wanted);
  }
  void finish() { finished_ = true; }
  bool good() const { return all_good_ && finished_; }

 private:
  bool all_good_ = true;
  bool finished_ = false;
};

struct client_state {
  torch::jit::Module module;
  report* result = nullptr;
  coordinator_actor model;
  std::size_t plain_answers = 0;
};

using client = caf::stateful_actor<client_state>;

void drain_it(client* self) {
  self->request(self->state.model, patience, drain{std::chrono::milliseconds(patience).count()})
      .then([self](const drained& d) {
        self->state.result->step("drained", d.unanswered == 0);
        self->request(self->state.model, patience, request_of(5, rows(1))).then([self](const infer_response& r) {
          self->state.result->step("a request after that", r, errc::draining);
          self->state.result->finish();
          self->quit();
        });
      });
}

void ask_for_status(client* self) {
  self->request(self->state.model, patience, status_query{}).then([self](const status& s) {
    std::uint64_t executions = 0;
    for (const auto& core : s.cores) executions += core.executions;
    self->state.result->step(fmt::format("status: {} cores have run executions of a batch of {}", s.cores.size(),
                                         compiled_batch),
                             s.cores.size() == 2 && executions >= 3);
    drain_it(self);
  });
}

// By plain send: the answers come as messages of their own, told apart by their ids. Cheaper than request/then, which
// keeps a timer for each request: the way for many requests.
void send_plainly(client* self) {
  self->send(self->state.model, request_of(3, rows(4'000)));
  self->send(self->state.model, cancel{3});
  self->send(self->state.model, request_of(4, rows(2)));
}

void on_plain_answer(client* self, const infer_response& r) {
  if (r.id == 3)
    self->state.result->step("4,000 rows, cancelled", r, errc::cancelled);
  else
    self->state.result->step("2 rows by plain send", r, errc::ok);
  if (++self->state.plain_answers == 2) ask_for_status(self);
}

void ask_wrongly(client* self) {
  self->request(self->state.model, patience, request_of(2, at::randn({2, 3}))).then([self](const infer_response& r) {
    self->state.result->step("an input of the wrong shape", r, errc::shape_mismatch);
    send_plainly(self);
  });
}

void ask(client* self) {
  auto input = rows(10);
  self->request(self->state.model, patience, request_of(1, input)).then([self, input](const infer_response& r) {
    bool equal = r.ok() && at::allclose(r.outputs.value.toTensor(),
                                        self->state.module.forward({input}).toTensor(), 1e-4, 1e-5);
    self->state.result->step("10 rows by request, compared with the module run alone", equal);
    ask_wrongly(self);
  });
}

// Step by step: each answer leads to the next question.
caf::behavior client_behavior(client* self, const torch::jit::Module& module, const compiled_model& compiled,
                              const supervisor_actor& engine, report* result) {
  self->state.module = module;
  self->state.result = result;
  self->set_error_handler([self](caf::error& e) {
    self->state.result->step(fmt::format("a message was not answered: {}", caf::to_string(e)), false);
    self->quit();
  });
  self->request(engine, patience, deploy{compiled}).then([self](const deployed& d) {
    self->state.result->step(d.ok() ? "the model is on all cores" : d.error.text, d.ok());
    self->state.model = d.coordinator;
    if (d.ok())
      ask(self);
    else
      self->quit();
  });
  return {[self](const infer_response& r) { on_plain_answer(self, r); }};
}

// The types must be known to CAF before the system is made; within one process they need not be, across two they do.
struct settings : caf::actor_system_config {
  settings() {
    add_message_types<caf::id_block::ganglion>();
    set("scheduler.policy", caf::atom("sharing"));
  }
};

// The handle of the engine goes with this function's end and the client's first message; the client's handle of the
// coordinator goes with the client. Nobody holds our actors then, and the actor system ends. Or the engine is told to.
bool run(bool exit_message) {
  const auto module = repeated_layer();
  trace_options quickly;
  quickly.tune = false;
  const auto compiled = trace(module, {rows(compiled_batch)}, quickly);

  report result;
  {
    settings config;
    caf::actor_system system(config);
    auto engine = spawn_supervisor(system, cpu_cores(2));
    auto user = system.spawn(client_behavior, module, compiled, engine, &result);
    if (exit_message) {
      caf::scoped_actor self(system);
      self->wait_for(user);
      self->send_exit(engine, caf::exit_reason::user_shutdown);
    }
  }
  fmt::print("messages: the actor system has ended, {}\n",
             exit_message ? "after an exit message to the engine" : "since nobody held the engine any more");
  return result.good();
}

}  // namespace

int main() {
  try {
    return run(false) && run(true) ? 0 : 1;
  } catch (const std::exception& e) {
    fmt::print(stderr, "messages: {}\n", e.what());
    return 1;
  }
}

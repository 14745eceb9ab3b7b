// Callbacks: requests of several priorities, one of which is taken back through Asio's cancellation slot. Handlers
// without an executor of their own are called on the engine's completion thread, one after the other; no io_context is
// needed.
#include "example.hpp"

#include <ganglion/engine/async_infer.hpp>

#include <ATen/ATen.h>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <fmt/format.h>
#include <pthread.h>

#include <future>

namespace {

namespace asio = boost::asio;

constexpr std::int64_t compiled_batch = 4;
constexpr std::int64_t width = 128;

// A layer that is applied many times, so that a request of many rows takes long.
torch::jit::Module repeated_layer() {
  torch::jit::Module module("repeated_layer");
  module.register_parameter("weight", at::randn({width, width}) / 12, false);
  module.define(R"(
    def forward(self, x):
        for _ in range(100):
            x = torch.tanh(torch.matmul(x, self.weight))
        return x
  )");
  return module;
}

std::string thread_name() {
  char name[16] = {};
  pthread_getname_np(pthread_self(), name, sizeof name);
  return name;
}

// What the handlers saw. They are called on one thread, and main looks when the last of them was.
struct report {
  at::Tensor urgent_answer = at::empty({0});
  std::string urgent_thread;
  ganglion::errc bulk_code = ganglion::errc::ok;
  bool bulk_was_last = false;
  std::promise<void> done;
};

int run_requests() {
  const auto module = repeated_layer();
  ganglion::trace_options quickly;
  quickly.tune = false;
  ganglion::engine engine;
  ganglion::data_parallel parallel(engine, ganglion::trace(module, {at::rand({compiled_batch, width})}, quickly));

  report seen;
  asio::cancellation_signal take_back;

  // A minute of work and more, for which nobody is in a hurry.
  ganglion::request_options bulk;
  bulk.priority = ganglion::priority::low;
  parallel.async_infer({at::rand({60'000, width})}, bulk,
                       asio::bind_cancellation_slot(take_back.slot(), [&](std::exception_ptr, ganglion::response r) {
                         fmt::print("bulk: error[{}]: {}\n", ganglion::to_string(r.code()), r.text());
                         seen.bulk_code = r.code();
                         seen.bulk_was_last = seen.urgent_answer.size(0) > 0;
                         seen.done.set_value();
                       }));

  // It goes before all rows of the other that are not begun. Its handler then takes the other back: signals are not
  // safe between threads, and this is the thread on which the other handler is called.
  ganglion::request_options urgent;
  urgent.priority = ganglion::priority::high;
  const auto rows = at::rand({6, width});
  parallel.async_infer({rows}, urgent, [&](std::exception_ptr failed, ganglion::response r) {
    seen.urgent_thread = thread_name();
    if (!failed) {
      seen.urgent_answer = r.outputs.toTensor();
      fmt::print("urgent: answered on the thread {}; {} executions with {} rows, {} of them not its own\n",
                 seen.urgent_thread, r.timing.executions, r.timing.batched_rows,
                 r.timing.batched_rows - seen.urgent_answer.size(0));
    }
    take_back.emit(asio::cancellation_type::terminal);
  });
  seen.done.get_future().wait();

  // Without Asio: the response as a future. What was taken back holds up nobody.
  ganglion::request_options plain;
  plain.tenant = "somebody else";
  const auto after = parallel.submit({rows}, plain).get().outputs.toTensor();
  const auto wanted = example::answer_alone(module, rows);
  fmt::print("after: ");
  const bool equal = example::report_difference(after, wanted);
  fmt::print("urgent: ");
  const bool urgent_equal = example::report_difference(seen.urgent_answer, wanted);
  const bool as_wanted = seen.urgent_thread == "ganglion-done" && seen.bulk_code == ganglion::errc::cancelled;
  return equal && urgent_equal && as_wanted && seen.bulk_was_last ? 0 : 1;
}

}  // namespace

int main() { return example::run("asio_callbacks", run_requests); }

// A classification service of coroutines on a Unix socket: any number of clients at once, whose requests share
// executions. A request is a line: the milliseconds that the answer may take, and the 784 pixels of a digit in hex. Its
// answer is a line: the digit, or what went wrong. SIGTERM ends the service in order: no new clients, an answer for
// everything that was sent until then, exit status 0. docs/tutorial.md shows the regions between lines such as
// [answer].
#include "example.hpp"

#include <ganglion/engine/async_infer.hpp>

#include <ATen/ATen.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <set>

namespace {

namespace asio = boost::asio;
using asio::awaitable, asio::use_awaitable;
using asio::local::stream_protocol;
using namespace std::chrono_literals;

constexpr std::int64_t compiled_batch = 16;
constexpr std::size_t pixels = 28 * 28;
constexpr std::size_t longest_line = 2 * pixels + 32;
constexpr auto patience = 30s;  // at the end, with clients that do not take their answers

struct service {
  asio::io_context context{1};  // destroyed last: the engine completes what is under way on it
  ganglion::engine engine;
  ganglion::data_parallel parallel;
  std::set<stream_protocol::socket*> clients;
  bool ending = false;
  std::size_t answers = 0;
  std::size_t errors = 0;
  std::size_t together = 0;  // answers from executions that had rows of other requests as well

  explicit service(const ganglion::compiled_model& model) : parallel(engine, model) {}
};

struct question {
  std::chrono::milliseconds patience{0};
  at::Tensor image;  ///< f32[1,1,28,28], from 0 to 1
};

question parse(std::string_view line) {
  question result;
  std::int64_t ms = 0;
  const auto* end = line.data() + line.size();
  auto [rest, failed] = std::from_chars(line.data(), end, ms);
  bool good = failed == std::errc{} && ms >= 0 && ms <= 3'600'000 && end - rest == 2 * pixels + 1 && *rest == ' ';
  result.patience = std::chrono::milliseconds(ms);
  result.image = at::empty({1, 1, 28, 28});
  auto* pixel = result.image.data_ptr<float>();
  for (std::size_t i = 0; good && i < pixels; ++i) {
    unsigned value = 0;
    const auto* digits = rest + 1 + 2 * i;
    good = std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2;
    pixel[i] = static_cast<float>(value) / 255;
  }
  if (!good)
    throw ganglion::error(ganglion::errc::invalid_argument,
                          fmt::format("a request is the milliseconds that its answer may take, at most an hour, a "
                                      "space, and {} hex digits", 2 * pixels));
  return result;
}

// [answer]
awaitable<std::string> answer(service& s, std::string_view line) {
  ++s.answers;
  try {
    // Inputs and options have names: g++ 12 destroys braced temporaries inside of co_await twice.
    const auto asked = parse(line);
    const std::vector<c10::IValue> inputs{asked.image};
    ganglion::request_options options;
    options.deadline = std::chrono::steady_clock::now() + asked.patience;
    const auto response = co_await s.parallel.async_infer(inputs, options, use_awaitable);
    if (response.timing.batched_rows > 1) ++s.together;
    co_return fmt::format("{}\n", response.outputs.toTensor().argmax().item<std::int64_t>());
  } catch (const ganglion::error& e) {
    ++s.errors;
    co_return fmt::format("error[{}]: {}\n", ganglion::to_string(e.failure().code), e.what());
  }
}

// One request of a client at a time: what it sends meanwhile waits in its socket, which holds it back in the end.
awaitable<void> serve(service& s, stream_protocol::socket client) {
  s.clients.insert(&client);
  try {
    std::string received;
    for (;;) {
      const auto size =
          co_await asio::async_read_until(client, asio::dynamic_buffer(received, longest_line), '\n', use_awaitable);
      const auto reply = co_await answer(s, std::string_view(received).substr(0, size - 1));
      received.erase(0, size);
      co_await asio::async_write(client, asio::buffer(reply), use_awaitable);
    }
  } catch (const boost::system::system_error&) {
    // The client has sent all, or is gone, or sends no lines.
  }
  s.clients.erase(&client);
}
// [answer]

awaitable<void> accept_clients(service& s, stream_protocol::acceptor& acceptor) {
  asio::steady_timer pause(s.context);
  for (;;) {
    auto [failed, client] = co_await acceptor.async_accept(asio::as_tuple(use_awaitable));
    if (s.ending) co_return;
    if (!failed) {
      asio::co_spawn(s.context, serve(s, std::move(client)), asio::detached);
      continue;
    }
    fmt::print(stderr, "asio_service: a client could not be accepted: {}\n", failed.message());
    pause.expires_after(100ms);  // out of file descriptors, as a rule: until some are free again
    co_await pause.async_wait(use_awaitable);
  }
}

// [end]
awaitable<void> end_on_signal(service& s, stream_protocol::acceptor& acceptor) {
  asio::signal_set signals(s.context, SIGTERM, SIGINT);
  co_await signals.async_wait(use_awaitable);
  s.ending = true;
  acceptor.close();
  // What a client has sent can still be read, and then comes the end of its lines.
  boost::system::error_code ignored;
  for (auto* client : s.clients) client->shutdown(stream_protocol::socket::shutdown_receive, ignored);
}
// [end]

int run_service(const char* model_path, const char* socket_path) {
  const auto module = ganglion::load_module(model_path);
  service s(ganglion::trace(module, {at::rand({compiled_batch, 1, 28, 28})}));
  std::remove(socket_path);
  stream_protocol::acceptor acceptor(s.context, socket_path);
  asio::co_spawn(s.context, accept_clients(s, acceptor), asio::detached);
  asio::co_spawn(s.context, end_on_signal(s, acceptor), asio::detached);
  fmt::print("asio_service: ready at {}\n", socket_path);
  std::fflush(stdout);

  while (!s.ending) s.context.run_one();
  s.context.run_for(patience);  // until every client has its answers
  const bool drained = s.engine.drain(patience);
  std::remove(socket_path);
  fmt::print("asio_service: answered {} requests, {} of them with an error and {} together with others\n", s.answers,
             s.errors, s.together);
  return drained && s.clients.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: asio_service MODEL.pt SOCKET\n"
               "  MODEL.pt: examples/mnist/mnist_cnn.pt of the source tree; SOCKET: a path to listen at\n");
    return 2;
  }
  return example::run("asio_service", [&] { return run_service(argv[1], argv[2]); });
}

// Many small requests: one row of 16 floats each, to a layer of 16x16 that is compiled for 32 rows, on two cores, from
// two threads of the same process that keep 1,024 requests out each. Told are the requests a second, and the CPU of a
// request beyond what the two threads take by themselves: the same loop against a stand-in that answers at once. By
// callbacks, by futures, and by handlers of Asio's, which the stand-in also calls on a thread of its own.
#include "measure.hpp"

#include <bench_statistics.hpp>

#include <ganglion/engine/async_infer.hpp>

#include <ATen/ATen.h>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

namespace {

using namespace ganglion;
using namespace ganglion::benchmark;

constexpr std::size_t producers = 2;
constexpr std::size_t outstanding = 1024;

/// Answers with the input, at once: inside of the call, or as Asio must, from a thread of its own.
class at_once {
 public:
  void start(std::vector<c10::IValue> inputs, request_options, std::function<void(response&&)> done) {
    done({std::move(inputs.front()), {}, {}});
  }
  template <class Handler>
  void async_infer(std::vector<c10::IValue> inputs, request_options, Handler&& handler) {
    boost::asio::post(thread_, [handler, input = std::move(inputs.front())]() mutable {
      handler(nullptr, {std::move(input), {}, {}});
    });
  }
  std::future<response> submit(std::vector<c10::IValue> inputs, request_options) {
    std::promise<response> promise;
    promise.set_value({std::move(inputs.front()), {}, {}});
    return promise.get_future();
  }

 private:
  boost::asio::thread_pool thread_{1};
};

/// The requests of a producer that are out. It waits where 1,024 are, until an eighth of them was answered, so that it
/// is not woken for each.
class window {
 public:
  void enter() {
    if (++sent_ - answered_.load() > outstanding) wait();
  }
  /// The last thing that is done for a request.
  void leave(bool good) {
    if (!good) ++failed_;
    if (++answered_ == wake_at_.load()) {
      std::lock_guard lock(mutex_);
      changed_.notify_one();
    }
    ++left_;
  }
  /// Waits for all, and returns how many were answered well.
  std::size_t finish() {
    while (left_.load() < sent_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return sent_ - failed_;
  }

 private:
  void wait() {
    std::unique_lock lock(mutex_);
    wake_at_ = sent_ - outstanding + outstanding / 8;
    changed_.wait(lock, [this] { return answered_.load() >= wake_at_.load(); });
  }

  std::size_t sent_ = 0;
  std::atomic<std::size_t> answered_{0}, failed_{0}, left_{0}, wake_at_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

enum class face { callbacks, futures, handlers };

/// Sends until told to stop, and returns how many were answered well.
template <class Target>
std::size_t produce_callbacks(Target& target, const at::Tensor& row, const std::atomic<bool>& stop, face by) {
  window w;
  do {
    w.enter();
    if (by == face::callbacks)
      target.start({row}, {}, [&w](response&& r) { w.leave(r.ok()); });
    else
      target.async_infer({row}, {}, [&w](std::exception_ptr, response r) { w.leave(r.ok()); });
  } while (!stop);
  return w.finish();
}

template <class Target>
std::size_t produce_futures(Target& target, const at::Tensor& row, const std::atomic<bool>& stop) {
  std::deque<std::future<response>> out;
  std::size_t good = 0;
  auto take = [&] {
    if (out.front().get().ok()) ++good;
    out.pop_front();
  };
  do {
    if (out.size() == outstanding) take();
    out.push_back(target.submit({row}, {}));
  } while (!stop);
  while (!out.empty()) take();
  return good;
}

struct window_of_time {
  double requests_per_second = 0;
  double cpu_microseconds = 0;  ///< a request
};

template <class Target>
window_of_time measure(Target& target, face by, double seconds) {
  std::atomic<bool> stop{false};
  std::vector<std::future<std::size_t>> running;
  const auto begin = clock::now();
  const auto cpu = cpu_seconds();
  for (std::size_t i = 0; i < producers; ++i)
    running.push_back(std::async(std::launch::async, [&, row = at::rand({1, 16})] {
      return by == face::futures ? produce_futures(target, row, stop) : produce_callbacks(target, row, stop, by);
    }));
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop = true;
  double requests = 0;
  for (auto& r : running) requests += static_cast<double>(r.get());
  return {requests / seconds_between(begin, clock::now()), (cpu_seconds() - cpu) / requests * 1e6};
}

void run_all(const arguments& given, report& out) {
  constexpr int rounds = 5;
  trace_options quickly;
  quickly.tune = !given.small;
  std::atomic<std::int64_t> executions{0}, rows{0};
  engine_options options;
  options.on_execution = [&](const execution_record& e) {
    executions += 1;
    rows += e.rows;
  };
  engine host(std::move(options));
  data_parallel parallel(host, trace(layers({16, 16}), {at::rand({32, 16})}, quickly));
  at_once stand_in;
  out.add("cores", static_cast<double>(parallel.cores().size()));
  constexpr std::pair<face, const char*> faces[] = {
      {face::callbacks, "callbacks"}, {face::futures, "futures"}, {face::handlers, "asio"}};
  for (auto [by, name] : faces) {
    measure(parallel, by, given.seconds / 2);
    executions = rows = 0;
    std::vector<double> rates, costs, alone;
    for (int i = 0; i < rounds; ++i) {
      const auto ours = measure(parallel, by, given.seconds);
      const auto theirs = measure(stand_in, by, given.seconds / 4);
      rates.push_back(ours.requests_per_second);
      costs.push_back(ours.cpu_microseconds - theirs.cpu_microseconds);
      alone.push_back(theirs.cpu_microseconds);
    }
    auto figure = [name = name](std::string_view what) { return fmt::format("{}_{}", name, what); };
    out.at_least(figure("requests_per_second"), command::median(rates), 200'000);
    out.at_most(figure("cpu_us_per_request"), command::median(costs), 6);
    out.add(figure("cpu_us_of_producers_alone"), command::median(alone));
    out.add(figure("mean_batch"), static_cast<double>(rows) / static_cast<double>(executions));
  }
}

}  // namespace

int main(int argc, char** argv) { return run("saturated_one_row", argc, argv, 4, run_all); }

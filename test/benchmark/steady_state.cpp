// Whether an engine that works on takes more and more memory: 100,000 requests of many kinds, and what the process has
// allocated and holds in memory at each tenth of them. All kinds have come before the first look.
#include "measure.hpp"

#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <malloc.h>

#include <thread>

namespace {

using namespace ganglion;
using namespace ganglion::benchmark;

double allocated_mib() {
  const auto info = ::mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd) / (1 << 20);
}

double resident_mib() { return static_cast<double>(resident_bytes()) / (1 << 20); }

/// A hundred requests at a time: of one row and of many, joined and alone, of several tenants and classes, with
/// deadlines and without, cancelled and refused.
class traffic {
 public:
  traffic(data_parallel& joined, data_parallel& chunked) : joined_(joined), chunked_(chunked) {}

  void send_hundred() {
    std::vector<std::future<response>> out;
    for (int i = 0; i < 98; ++i) {
      request_options options;
      options.tenant = fmt::format("tenant {}", i % 5);
      options.priority = static_cast<priority>(i % 3);
      if (i % 7 == 0) options.deadline = benchmark::clock::now() + std::chrono::seconds(10);
      std::stop_source stop;
      if (i % 11 == 0) options.stop = stop.get_token();
      auto& target = i % 4 == 0 ? chunked_ : joined_;
      out.push_back(target.submit({rows_[static_cast<std::size_t>(i) % std::size(rows_)]}, std::move(options)));
      if (i % 11 == 0) stop.request_stop();
    }
    out.push_back(joined_.submit({wrong_}, {}));
    joined_({rows_[0]});
    for (auto& f : out) try {
        f.get();
      } catch (const error&) {
      }
  }

 private:
  data_parallel &joined_, &chunked_;
  const at::Tensor rows_[4] = {at::rand({1, 16}), at::rand({3, 16}), at::rand({40, 16}), at::rand({200, 16})};
  const at::Tensor wrong_ = at::rand({3, 17});
};

void run_all(const arguments& given, report& out) {
  const int hundreds = given.small ? 5 : 100;  // in each tenth
  trace_options quickly;
  quickly.tune = false;
  const auto model = trace(layers({16, 64, 16}), {at::rand({8, 16})}, quickly);
  engine host;
  data_parallel joined(host, model), chunked(host, model, {.split_size = 5});
  traffic requests(joined, chunked);
  auto send = [&](int count) {
    for (int i = 0; i < count; ++i) requests.send_hundred();
    while (host.status().unanswered > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  send(hundreds);
  const auto allocated = allocated_mib(), resident = resident_mib();
  out.add("allocated_mib_after_1_tenth", allocated);
  out.add("resident_mib_after_1_tenth", resident);
  for (int tenth = 2; tenth <= 10; ++tenth) {
    send(hundreds);
    out.add(fmt::format("allocated_mib_after_{}_tenths", tenth), allocated_mib());
    out.add(fmt::format("resident_mib_after_{}_tenths", tenth), resident_mib());
  }
  out.add("requests", 1000.0 * hundreds);
  out.at_most("allocated_growth_bytes_per_request",
              std::max(0.0, (allocated_mib() - allocated) * (1 << 20) / (900.0 * hundreds)), 1);
  out.at_most("resident_growth_mib", resident_mib() - resident, 1);
}

}  // namespace

int main(int argc, char** argv) { return run("steady_state", argc, argv, 1, run_all); }

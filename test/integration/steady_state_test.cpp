// That an engine at work takes no more and more memory.
#include "counted_calls.hpp"

#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>

#include <malloc.h>

#include <map>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

namespace {

/// The bytes that the program holds of malloc, in all arenas.
std::size_t held_bytes() {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

errc code_of(std::future<response>& f) {
  try {
    return f.get().code();
  } catch (const error& e) {
    return e.failure().code;
  }
}

/// The bytes more that are held after `more` requests, which come after the first ones.
template <class Send>
std::size_t growth(const Send& send, int first, int more) {
  send(first);
  const auto before = held_bytes();
  send(more);
  const auto after = held_bytes();
  return after > before ? after - before : 0;
}

}  // namespace

TEST_CASE("what is allocated does not grow with the number of requests") {
  engine_ears ears;
  auto options = ears.options(2);
  options.on_execution = nullptr;  // the test's own records would be what grows
  engine host{options};
  data_parallel parallel{host, compiled(modules::linear(16, 16), {at::rand({8, 16})})};
  const auto x = at::rand({3, 16}), large = at::rand({50, 16});
  const auto send = [&](int requests) {
    for (int i = 0; i < requests; i += 10) {
      std::vector<std::future<response>> out;
      for (int k = 0; k < 9; ++k) {
        request_options how;
        how.tenant = k % 2 == 0 ? "a" : "b";
        how.priority = static_cast<priority>(k % 3);
        if (k == 4) how.deadline = std::chrono::steady_clock::now() + std::chrono::hours(1);
        out.push_back(parallel.submit({k == 0 ? large : x}, std::move(how)));
      }
      for (auto& f : out) f.get();
      EXPECT(failure_of([&] { parallel({at::rand({3, 17})}); }).code == errc::shape_mismatch);
    }
    REQUIRE(at_rest(host));
  };
  const auto bytes = growth(send, 5'000, 10'000);
  NOTE("bytes more after 10,000 requests: " << bytes);
  EXPECT(bytes < 100'000);  // ten a request
}

TEST_CASE("what is allocated does not grow under more load than the cores can serve") {
  engine_ears ears;
  auto options = ears.options(1);
  options.on_execution = nullptr;
  options.max_queued_rows = 200;
  options.max_queue_time = std::chrono::milliseconds(50);
  engine host{options};
  data_parallel parallel{host, compiled(modules::linear(256, 256), {at::rand({8, 256})})};
  const auto x = at::rand({40, 256});
  std::map<errc, int> seen;
  const auto flood = [&](int requests) {
    std::vector<std::future<response>> out;
    std::stop_source source;
    for (int i = 0; i < requests; ++i) {
      request_options how;
      how.priority = static_cast<priority>(i % 3);
      if (i % 4 == 1) how.stop = source.get_token();  // not the first, whose deadline is the moment it comes
      if (i % 5 == 0) how.deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(i % 400);
      out.push_back(parallel.submit({x}, std::move(how)));
      if (i % 100 == 99) {
        source.request_stop();
        source = {};
        for (auto& f : out) ++seen[code_of(f)];
        out.clear();
      }
    }
    REQUIRE(at_rest(host));
  };
  const auto bytes = growth(flood, 5'000, 20'000);
  NOTE("bytes more after 20,000 requests: " << bytes);
  EXPECT(bytes < 200'000);  // ten a request
  for (auto code : {errc::ok, errc::queue_full, errc::deadline_exceeded, errc::cancelled}) {
    NOTE(to_string(code));
    EXPECT(seen[code] > 0);
  }
}

#include <ganglion/actors/batcher/request_queue.hpp>

#include <support/doctest.hpp>
#include <support/requests.hpp>

#include <algorithm>
#include <map>
#include <random>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t quantum = 4;
constexpr auto ageing = 10ms;

/// What waits, as a list that is looked through.
struct waiting_request {
  request_ptr value;
  clock::time_point since;
  std::int64_t next_row = 0;

  std::int64_t rows() const { return value->rows() - next_row; }
  std::int64_t level(clock::time_point now) const {
    auto p = static_cast<std::int64_t>(value->options().priority);
    return std::max<std::int64_t>(0, p - (now - since) / ageing);
  }
};

request_ptr planned(std::int64_t rows, priority p, std::string tenant, std::optional<std::int64_t> split = {}) {
  static const auto target = deployment_of_batch(quantum, 1, {0});
  request_options options;
  options.priority = p;
  options.tenant = std::move(tenant);
  auto r = make_request(target, rows, std::make_shared<admission>(), 0, std::move(options));
  r.value->plan(true, split);
  return r.value;
}

}  // namespace

TEST_CASE("under any sequence of requests and times the most urgent rows go, of one tenant in order, and all once") {
  std::size_t risen = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    NOTE("seed " << seed);
    std::mt19937 random(seed);
    auto below = [&random](std::int64_t n) { return static_cast<std::int64_t>(random()) % n; };
    request_queue queue{{quantum, ageing}};
    std::vector<waiting_request> all;
    clock::time_point now;
    for (int step = 0; step < 200; ++step) {
      if (below(3) == 0) now += std::chrono::milliseconds(below(7));
      if (below(2) == 0) {
        auto tenant = std::string(static_cast<std::size_t>(below(3)), 't');
        auto r = planned(1 + below(9), static_cast<priority>(below(3)), std::move(tenant));
        queue.push(r, now);
        all.push_back({r, now});
      }
      queue.age(now);
      if (all.empty() || below(2) == 0) continue;
      std::int64_t waited = 0;
      for (const auto& w : all) waited += w.rows();
      auto most = 1 + below(8);
      const auto taken = queue.take_joined(most);
      REQUIRE(taken.rows() == std::min(most, waited));
      std::int64_t level = 0;
      for (const auto& p : taken.pieces) {
        auto found = std::ranges::find(all, p.owner, &waiting_request::value);
        REQUIRE(found != all.end());
        REQUIRE(p.first_row == found->next_row);
        REQUIRE(p.rows >= 1);
        REQUIRE(p.rows <= found->rows());
        REQUIRE(found->level(now) >= level);
        level = found->level(now);
        risen += level < static_cast<std::int64_t>(p.owner->options().priority);
        for (const auto& before : all)  // of its tenant and class nobody came before it
          if (before.since < found->since && before.level(now) == level)
            REQUIRE(before.value->options().tenant != p.owner->options().tenant);
        found->next_row += p.rows;
        if (found->rows() == 0) all.erase(found);
      }
      for (const auto& w : all) REQUIRE(w.level(now) >= level);  // what is more urgent went before
    }
  }
  EXPECT(risen > 1'000);
}

TEST_CASE("tenants that have work all the time get the same rows, within a turn and a chunk, whatever they send") {
  constexpr std::int64_t largest_chunk = 20;
  for (unsigned seed = 0; seed < 100; ++seed) {
    NOTE("seed " << seed);
    std::mt19937 random(seed);
    auto below = [&random](std::int64_t n) { return static_cast<std::int64_t>(random()) % n; };
    request_queue queue{{quantum, 0ms}};
    std::map<std::string, std::int64_t> waiting, served;
    const bool with_chunks = seed % 2 == 0;
    for (int step = 0; step < 300; ++step) {
      for (const char* tenant : {"a", "b", "c", "d"})
        while (waiting[tenant] < 2 * largest_chunk) {
          // Each sends in a way of its own.
          const auto rows = tenant[0] == 'a' ? 1 : tenant[0] == 'b' ? 40 : 1 + below(30);
          const bool chunks = with_chunks && tenant[0] > 'b';
          const auto split = chunks ? std::optional{1 + below(largest_chunk)} : std::nullopt;
          queue.push(planned(rows, priority::normal, tenant, split), {});
          waiting[tenant] += rows;
        }
      auto count = [&](const request& r, std::int64_t rows) {
        served[r.options().tenant] += rows;
        waiting[r.options().tenant] -= rows;
      };
      if (queue.front()->joinable()) {
        for (const auto& p : queue.take_joined(1 + below(quantum)).pieces) count(*p.owner, p.rows);
      } else {
        const auto p = queue.take_chunk(0).pieces.front();
        count(*p.owner, p.owner->chunks().at(p.chunk).rows);
        for (auto p : {priority::high, priority::normal, priority::low})  // its rest
          while (queue.take_again(p, [](const batch&) { return std::optional<std::size_t>{0}; })) continue;
      }
      auto [least, most] = std::ranges::minmax_element(served, {}, [](const auto& s) { return s.second; });
      if (served.size() == 4) REQUIRE(most->second - least->second <= 2 * quantum + (with_chunks ? largest_chunk : 0));
    }
    EXPECT(served["a"] > 100);
  }
}

#include <ganglion/actors/coordinator/gather.hpp>

#include <support/doctest.hpp>
#include <support/random_parts.hpp>

#include <ATen/ATen.h>

#include <atomic>
#include <deque>
#include <numeric>
#include <random>
#include <thread>

using namespace ganglion;

namespace {

/// Lanes that commit slots, also under stale attempts, while a batcher retries and drops them; all at once.
void hammer(std::uint32_t seed, bool drops) {
  std::mt19937 random(seed);
  auto parts = ganglion::test::random_parts(random, 16, 3);
  std::deque<slot> slots;
  gather_config config;
  for (auto rows : parts) {
    slots.emplace_back(config.rows, rows, slots.size());
    config.rows += rows;
  }
  std::atomic<int> answers{0};
  response answer;
  std::atomic<std::size_t> resolved{0}, dropped{0};
  std::atomic<bool> go{false};
  {
    gather all{config, [&](response&& o) {
      answer = std::move(o);
      ++answers;
    }};
    std::vector<std::thread> threads;
    for (std::uint32_t lane = 0; lane < 3; ++lane)
      threads.emplace_back([&, lane] {
        std::mt19937 own(seed * 7 + lane);
        while (!go) std::this_thread::yield();
        while (resolved < slots.size()) {
          auto i = own() % slots.size();
          auto attempt = slots[i].attempt();
          if (own() % 4 == 0 && attempt > 0) --attempt;
          slots[i].start(attempt);
          // Another lane may have moved it, or the batcher taken it back: then this changes nothing.
          if (all.commit(slots[i], attempt, at::full({parts[i]}, static_cast<float>(i)), 0, parts[i], 0)) ++resolved;
        }
      });
    threads.emplace_back([&] {
      std::mt19937 own(seed * 7 + 5);
      while (!go) std::this_thread::yield();
      if (drops) all.fail({errc::cancelled, "stop"});
      while (resolved < slots.size()) {
        auto& s = slots[own() % slots.size()];
        if (!drops || own() % 2 == 0) {
          s.retry();
          std::this_thread::yield();
        } else if (s.drop()) {
          all.drop_rows(s.rows());
          ++dropped;
          ++resolved;
        }
      }
    });
    go = true;
    for (auto& t : threads) t.join();
  }
  REQUIRE(answers == 1);
  // The lanes may have been faster than the failure, but then no row was dropped.
  if (!answer.ok()) REQUIRE(drops);
  if (dropped > 0) REQUIRE_FALSE(answer.ok());
  if (!answer.ok()) return;
  auto rows = answer.outputs.toTensor();
  for (std::size_t i = 0; i < slots.size(); ++i)
    REQUIRE((rows.narrow(0, slots[i].first_row(), parts[i]) == static_cast<float>(i)).all().item<bool>());
}

}  // namespace

TEST_CASE("lanes that commit while slots are retried under them answer once, with every row in its place") {
  for (std::uint32_t seed = 0; seed < 150; ++seed) hammer(seed, false);
}

TEST_CASE(
    "lanes that commit while slots are dropped under them answer once, with the failure where a row was dropped") {
  for (std::uint32_t seed = 0; seed < 150; ++seed) hammer(seed, true);
}

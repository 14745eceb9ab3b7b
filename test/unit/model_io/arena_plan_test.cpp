#include <src/fused/arena_plan.hpp>

#include <support/doctest.hpp>

#include <algorithm>
#include <random>

using namespace ganglion;

namespace {

bool apart(const arena_plan& plan, const std::vector<arena_buffer>& buffers, std::size_t a, std::size_t b) {
  return plan.offsets[a] + buffers[a].bytes <= plan.offsets[b] || plan.offsets[b] + buffers[b].bytes <= plan.offsets[a];
}

}  // namespace

TEST_CASE("an arena holds what is needed at the same time, and no more where buffers take turns") {
  EXPECT(plan_arena({}, 64).bytes == 0);
  EXPECT(plan_arena({{100, 0, 0}}, 64).bytes == 128);
  EXPECT(plan_arena({{64, 0, 1}, {64, 2, 3}}, 64).bytes == 64);
  EXPECT(plan_arena({{64, 0, 2}, {64, 2, 3}}, 64).bytes == 128);
  // The third fits where the first was, below the second.
  EXPECT(plan_arena({{128, 0, 1}, {256, 1, 3}, {64, 2, 3}}, 64).bytes == 384);
}

TEST_CASE("buffers that are needed at the same step never share a byte") {
  const auto seed = std::random_device{}();
  DOCTEST_INFO("seed ", seed);
  std::mt19937 random{seed};
  for (int round = 0; round < 300; ++round) {
    std::vector<arena_buffer> buffers(1 + random() % 40);
    for (auto& b : buffers) {
      b.bytes = random() % 1000;
      b.first = random() % 50;
      b.last = b.first + random() % 10;
    }
    const auto plan = plan_arena(buffers, 64);
    std::size_t all = 0;
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      all += (buffers[i].bytes + 63) / 64 * 64;
      REQUIRE(plan.offsets[i] % 64 == 0);
      REQUIRE(plan.offsets[i] + buffers[i].bytes <= plan.bytes);
      for (std::size_t j = 0; j < i; ++j)
        if (buffers[i].first <= buffers[j].last && buffers[j].first <= buffers[i].last)
          REQUIRE(apart(plan, buffers, i, j));
    }
    REQUIRE(plan.bytes <= all);
  }
}

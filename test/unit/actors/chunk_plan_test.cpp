#include <ganglion/actors/coordinator/chunk_plan.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>

#include <random>

using namespace ganglion;

namespace {

/// Calls `check` with random plans, small and large ones.
template <class Check>
void for_random_plans(Check check) {
  std::mt19937 random(1);
  auto number = [&random](std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random);
  };
  for (int i = 0; i < 3'000; ++i) {
    auto most = i % 2 == 0 ? 12 : 100'000;
    auto rows = number(0, most);
    auto batch = number(1, i % 3 == 0 ? 8 : 600);
    auto split = i % 4 < 2 ? std::optional<std::int64_t>{} : std::optional{number(1, i % 4 == 2 ? 10 : most + 5)};
    NOTE("rows " << rows << ", batch " << batch << ", split size " << split.value_or(0));
    check(chunk_plan{rows, batch, split}, split);
  }
}

}  // namespace

TEST_CASE("the chunks partition the rows in order and none is empty") {
  for_random_plans([](const chunk_plan& plan, auto) {
    std::int64_t next = 0;
    for (std::size_t i = 0; i < plan.size(); ++i) {
      auto chunk = plan.at(i);
      REQUIRE(chunk.first_row == next);
      REQUIRE(chunk.rows > 0);
      next += chunk.rows;
    }
    REQUIRE(next == plan.rows());
  });
}

TEST_CASE("without a split size there are no more executions than ceil(rows / batch)") {
  for_random_plans([](const chunk_plan& plan, auto split) {
    if (split) return;
    REQUIRE(plan.executions() == static_cast<std::size_t>((plan.rows() + plan.batch() - 1) / plan.batch()));
    REQUIRE(plan.size() == plan.executions());
  });
}

TEST_CASE("a split size is the exact number of rows of every chunk but the last") {
  for_random_plans([](const chunk_plan& plan, auto split) {
    if (!split) return;
    std::size_t executions = 0;
    for (std::size_t i = 0; i < plan.size(); ++i) {
      auto rows = plan.at(i).rows;
      if (i + 1 < plan.size())
        REQUIRE(rows == *split);
      else
        REQUIRE(rows <= *split);
      for (; rows > 0; rows -= plan.batch()) ++executions;
    }
    REQUIRE(plan.executions() == executions);
  });
}

TEST_CASE("22 rows on a batch of 5 are chunks of 5, 5, 5, 5 and 2") {
  chunk_plan plan{22, 5};
  std::vector<std::int64_t> rows;
  for (std::size_t i = 0; i < plan.size(); ++i) rows.push_back(plan.at(i).rows);
  EXPECT(rows == std::vector<std::int64_t>{5, 5, 5, 5, 2});
}

TEST_CASE("no rows are no chunks and no executions") {
  EXPECT(chunk_plan(0, 5).size() == 0);
  EXPECT(chunk_plan(0, 5, 3).executions() == 0);
}

TEST_CASE("the largest numbers do not overflow a plan") {
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  EXPECT(chunk_plan(most, most).size() == 1);
  EXPECT(chunk_plan(most, 2).size() == static_cast<std::size_t>(most / 2 + 1));
  EXPECT(chunk_plan(7, 2, most).size() == 1);
  EXPECT(chunk_plan(7, 2, most).executions() == 4);
}

TEST_CASE("with dynamic batching off rows over cores must be the compiled size exactly") {
  for (std::int64_t rows = 0; rows < 60; ++rows)
    for (std::size_t cores = 1; cores < 9; ++cores)
      for (std::int64_t compiled = 1; compiled < 9; ++compiled) {
        // The slow reference: put the rows on the cores one compiled size after the other.
        auto left = rows;
        bool fits = true;
        for (std::size_t i = 0; i < cores; ++i) fits = fits && (left -= compiled) >= 0;
        fits = fits && left == 0;
        NOTE(rows << " rows, " << cores << " cores, compiled for " << compiled);
        auto checked = check_compile_batch(rows, cores, {compiled}, 0);
        REQUIRE(checked.has_value() == fits);
        if (!fits) REQUIRE(checked.error().code == errc::batch_size_mismatch);
      }
}

TEST_CASE("a refused number of rows is told with the formula, the numbers and what to give instead") {
  auto even = check_compile_batch(8, 4, {1}, 0).error().text;
  EXPECT(contains(even, "input.shape[0] = 8 over 4 cores is 2, but the model was compiled for 1"));
  EXPECT(contains(even, "input.shape[dim] / len(device_ids) must equal compilation_input.shape[dim]"));
  EXPECT(contains(even, "give 4 rows"));
  auto uneven = check_compile_batch(7, 2, {3}, 1).error().text;
  EXPECT(contains(uneven, "input.shape[1] = 7 over 2 cores is 3.5, but"));
  EXPECT(contains(check_compile_batch(2, 1, {3}, 0).error().text, "over 1 core is 2"));
}

// S19, S20: how many executions are in flight, and how many rows a chunk has.
#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/faulty_lane.hpp>
#include <support/forward_gate.hpp>
#include <support/modules.hpp>

#include <fmt/format.h>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

// -- S19 -------------------------------------------------------------------------------------------------------------

TEST_CASE("S19: num_workers caps the executions in flight over all cores") {
  engine_ears ears;
  engine host{ears.options(4)};
  for (const std::size_t cap : {1u, 2u, 3u, 7u}) {
    data_parallel parallel{host, plus_one(1), {.num_workers = cap}};
    EXPECT(parallel.num_workers() == cap);
    ears.forget();
    std::vector<std::future<c10::IValue>> futures;
    for (int i = 0; i < 20; ++i) futures.push_back(parallel.submit({counted({10, 3})}));
    for (auto& f : futures) EXPECT(same(f.get().toTensor(), counted({10, 3}) + 1));
    const auto records = ears.wait_for_executions(200);
    EXPECT(largest_overlap(records) <= cap);
  }
}

TEST_CASE("S19: a cap is reached, can be changed later, and each data_parallel has its own") {
  engine_ears ears;
  engine host{ears.options(4)};
  const auto model = compiled(gated_plus_one(), {at::ones({1, 3})});
  data_parallel capped{host, model, {.num_workers = 1}}, other{host, model, {.device_ids = {3}, .num_workers = 1}};
  std::future<c10::IValue> long_one, short_one;
  {
    forward_gate gate;
    long_one = capped.submit({counted({9, 3})});
    REQUIRE(gate.wait_for(1));
    EXPECT(host.status().executions_in_flight == 1);
    short_one = other.submit({counted({2, 3})});
    REQUIRE(gate.wait_for(2));
    EXPECT(host.status().executions_in_flight == 2);
    capped.num_workers(3);
    REQUIRE(gate.wait_for(4));
    EXPECT(host.status().executions_in_flight == 4);
    EXPECT(capped.num_workers() == 3);
  }
  REQUIRE(ready(long_one));
  EXPECT(same(long_one.get().toTensor(), counted({9, 3}) + 1));
  REQUIRE(ready(short_one));
  EXPECT(same(short_one.get().toTensor(), counted({2, 3}) + 1));
}

TEST_CASE("S19: unset it reads 2 x cores, and no fewer than 2 executions a core are taken") {
  engine_ears ears;
  engine host{ears.options(3)};
  data_parallel parallel{host, compiled(gated_plus_one(), {at::ones({1, 3})})};
  EXPECT(parallel.num_workers() == 6);
  EXPECT((data_parallel{host, parallel.model(), {.device_ids = {2}}}.num_workers() == 2));
  std::vector<std::future<c10::IValue>> futures;
  {
    forward_gate gate;
    for (int i = 0; i < 9; ++i) futures.push_back(parallel.submit({counted({1, 3})}));
    REQUIRE(gate.wait_for(3));
    EXPECT(soon([&] { return host.status().executions_in_flight >= 6; }));
  }
  for (auto& future : futures) {
    REQUIRE(ready(future));
    EXPECT(same(future.get().toTensor(), counted({1, 3}) + 1));
  }
}

TEST_CASE("S19: num_workers of 0 is invalid_argument, at construction and later") {
  engine_ears ears;
  engine host{ears.options(2)};
  EXPECT(failure_of([&] { data_parallel{host, plus_one(1), {.num_workers = 0}}; }).code == errc::invalid_argument);
  data_parallel parallel{host, plus_one(1), {.num_workers = 5}};
  EXPECT(failure_of([&] { parallel.num_workers(0); }).code == errc::invalid_argument);
  EXPECT(parallel.num_workers() == 5);
  EXPECT(same(answer(parallel, {counted({3, 3})}), counted({3, 3}) + 1));
}

// -- S20 -------------------------------------------------------------------------------------------------------------

TEST_CASE("S20: split_size is the rows of a chunk, the last one short, and a chunk stays on one core") {
  engine_ears ears;
  lane_faults lanes;
  auto options = ears.options(3);
  options.make_lane = lanes.factory();
  engine host{options};
  for (const std::int64_t split : {1, 3, 5, 7, 12, 22, 40}) {
    data_parallel parallel{host, plus_one(5), {.split_size = split}};
    EXPECT(parallel.split_size() == split);
    const auto before = lanes.started().size();
    const std::int64_t rows = 22;
    EXPECT(same(answer(parallel, {counted({rows, 3})}), counted({rows, 3}) + 1));
    const auto all = lanes.started();
    std::map<std::size_t, std::vector<lane_faults::started_rows>> chunks;
    for (auto i = before; i < all.size(); ++i) chunks[all[i].chunk].push_back(all[i]);
    NOTE("split_size " << split);
    REQUIRE(chunks.size() == ceil_div(22, static_cast<std::size_t>(split)));
    for (auto& [index, parts] : chunks) {
      auto first = static_cast<std::int64_t>(index) * split;
      auto size = std::min(split, rows - first);
      EXPECT(parts.size() == ceil_div(static_cast<std::size_t>(size), 5));
      std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.first_row < b.first_row; });
      for (const auto& part : parts) {
        EXPECT(part.core == parts.front().core);
        EXPECT(part.first_row == first);
        EXPECT(part.rows == std::min<std::int64_t>(5, size));
        first += part.rows;
        size -= part.rows;
      }
      EXPECT(size == 0);
    }
  }
}

TEST_CASE("S20: unset, a chunk is a compiled batch, and set later it holds for later calls") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(4)};
  EXPECT_FALSE(parallel.split_size().has_value());
  answer(parallel, {counted({10, 3})});
  EXPECT((rows_of(ears.wait_for_executions(3)) == std::vector<std::int64_t>{4, 4, 2}));
  parallel.split_size(3);
  ears.forget();
  answer(parallel, {counted({10, 3})});
  EXPECT((rows_of(ears.wait_for_executions(4)) == std::vector<std::int64_t>{3, 3, 3, 1}));
}

TEST_CASE("S20: a split_size that is taken back leaves chunks of the compiled batch, and the other settings alone") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(5), {.num_workers = 3, .split_size = 2}};
  const auto x = counted({10, 3});
  EXPECT(same(answer(parallel, {x}), x + 1));
  EXPECT(ears.wait_for_executions(5).size() == 5);
  ears.forget();
  parallel.split_size(std::nullopt);
  EXPECT_FALSE(parallel.split_size().has_value());
  EXPECT(parallel.num_workers() == 3);
  EXPECT(same(answer(parallel, {x}), x + 1));
  EXPECT((rows_of(ears.wait_for_executions(2)) == std::vector<std::int64_t>{5, 5}));
}

TEST_CASE("S20: without dynamic batching split_size has no meaning, which is said once") {
  engine_ears ears;
  engine host{ears.options(2)};
  data_parallel parallel{host, plus_one(2), {.dynamic_batching = false, .split_size = 1}};
  for (int i = 0; i < 3; ++i) EXPECT(same(answer(parallel, {counted({4, 3})}), counted({4, 3}) + 1));
  for (const auto& r : ears.wait_for_executions(6)) EXPECT(r.rows == 2);
  EXPECT(count_of(parallel.warnings(), "split_size = 1 has no meaning while dynamic batching is off") == 1);
  EXPECT(count_of(ears.sentences(), "split_size = 1 has no meaning") == 1);
}

TEST_CASE("S20: a split_size below 1 is invalid_argument, at construction and later") {
  engine_ears ears;
  engine host{ears.options(2)};
  for (const std::int64_t rows : {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()}) {
    EXPECT(failure_of([&] { data_parallel{host, plus_one(1), {.split_size = rows}}; }).code == errc::invalid_argument);
    data_parallel parallel{host, plus_one(1), {.split_size = 2}};
    const auto f = failure_of([&] { parallel.split_size(rows); });
    EXPECT(f.code == errc::invalid_argument);
    EXPECT(contains(f.text, fmt::format("split_size is {}", rows)));
    EXPECT(parallel.split_size() == 2);
  }
  data_parallel parallel{host, plus_one(1), {.split_size = std::numeric_limits<std::int64_t>::max()}};
  EXPECT(same(answer(parallel, {counted({3, 3})}), counted({3, 3}) + 1));
}

#include <support/doctest.hpp>

#include <ganglion/actors/coordinator/model_counters.hpp>

#include <thread>

using namespace ganglion;
using namespace std::chrono_literals;

namespace {

model_status read(const model_counters& c) {
  model_status s;
  c.read(s);
  return s;
}

response well(std::chrono::nanoseconds queued, std::chrono::nanoseconds compute, std::chrono::nanoseconds gather) {
  response r;
  r.timing.queued = queued;
  r.timing.compute = compute;
  r.timing.gather = gather;
  r.timing.executions = 1;
  return r;
}

}  // namespace

TEST_CASE("what waits is what was accepted and has not left the queue") {
  model_counters c;
  c.accepted(5, 500);
  c.accepted(2, 200);
  c.left_queue(3, 300);
  auto s = read(c);
  EXPECT(s.queued_rows == 4);
  EXPECT(s.queued_bytes == 400);
  EXPECT(s.unanswered == 2);
  EXPECT(s.rows == 7);
  c.left_queue(4, 400);
  c.answered(well(1ms, 1ms, 1ms));
  s = read(c);
  EXPECT(s.queued_rows == 0);
  EXPECT(s.unanswered == 1);
  EXPECT(s.rows == 7);
}

TEST_CASE("answers and refusals are counted by their code, and the times of those that went well") {
  model_counters c;
  for (int i = 0; i < 4; ++i) c.accepted(1, 1);
  c.answered(well(2ms, 10ms, 1ms));
  c.answered(well(3ms, 20ms, 1ms));
  c.answered({{}, {errc::forward_failed, "x"}, {}});
  c.answered({});  // a request of no rows: it waited for nothing
  c.refused(errc::queue_full);
  c.refused(errc::queue_full);
  auto s = read(c);
  auto outcomes = [&s](errc code) { return s.outcomes.at(static_cast<std::size_t>(code)); };
  EXPECT(s.outcomes.size() == errc_count);
  EXPECT(outcomes(errc::ok) == 3);
  EXPECT(outcomes(errc::forward_failed) == 1);
  EXPECT(outcomes(errc::queue_full) == 2);
  EXPECT(outcomes(errc::cancelled) == 0);
  EXPECT(s.unanswered == 0);
  EXPECT(s.queued.count() == 2);
  EXPECT(s.queued.sum() == 5ms);
  EXPECT(s.compute.sum() == 30ms);
  EXPECT(s.total.sum() == 37ms);
  EXPECT(s.total.quantile(1) >= 24ms);
  EXPECT(s.total.quantile(1) < 26ms);
}

TEST_CASE("what many threads count at once is all there") {
  model_counters c;
  std::vector<std::thread> threads;
  for (int t = 0; t < 12; ++t)  // more than there are parts
    threads.emplace_back([&c] {
      for (int i = 0; i < 1'000; ++i) {
        c.accepted(2, 8);
        c.left_queue(2, 8);
        c.answered(well(1us, 1us, 1us));
      }
    });
  for (auto& t : threads) t.join();
  auto s = read(c);
  EXPECT(s.rows == 24'000);
  EXPECT(s.queued_rows == 0);
  EXPECT(s.queued_bytes == 0);
  EXPECT(s.unanswered == 0);
  EXPECT(s.outcomes[0] == 12'000);
  EXPECT(s.total.count() == 12'000);
  EXPECT(s.total.sum() == 36ms);
}

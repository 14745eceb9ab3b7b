#include <ganglion/model_io/interruptible.hpp>

#include "operator_module.hpp"

#include <support/doctest.hpp>
#include <support/errors.hpp>

#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>

using namespace ganglion;

namespace {

std::atomic<int> runs{0};
std::atomic<int> last_run{0};
std::stop_source to_stop;

/// Counts the runs of a model, and asks for the stop in one of them.
at::Tensor counted(const at::Tensor& x) {
  if (++runs == last_run) to_stop.request_stop();
  return x + 1;
}

TORCH_LIBRARY(ganglion_interruptible_test, m) { m.def("counted(Tensor x) -> Tensor", counted); }

torch::jit::Module counting() { return operator_module("ganglion_interruptible_test::counted"); }

/// How often the model runs in `work(stop token)`, which is told to stop in a run of it, or never.
template <class Work>
int runs_of(int stop_in, Work work) {
  to_stop = {};
  runs = 0;
  last_run = stop_in;
  work(to_stop.get_token());
  return runs;
}

/// Stops in each of the first runs. How many there are in all depends on how long programs are measured.
template <class Work>
void check_every_moment(Work work) {
  constexpr int most = 60;
  const auto all = runs_of(0, work);
  REQUIRE(all > 3);
  for (int stop_in = 1; stop_in < std::min(all, most); ++stop_in) {
    NOTE("stopped in run ", stop_in, " of ", all);
    failure reason;
    const auto done = runs_of(stop_in, [&](std::stop_token stop) { reason = failure_of([&] { work(stop); }); });
    EXPECT(reason.code == errc::cancelled);
    EXPECT(done == stop_in);
  }
}

}  // namespace

TEST_CASE("a trace that is told to stop in a run of the model runs it no more and is cancelled") {
  for (const bool tune : {false, true}) {
    DOCTEST_CAPTURE(tune);
    check_every_moment([&](std::stop_token stop) {
      trace(counting(), {at::rand({3, 4})}, {.tune = tune, .more_examples = {{at::rand({2, 4})}}}, stop);
    });
  }
}

TEST_CASE("a model that is told to stop while it is compiled again runs no more and is cancelled") {
  const auto traced = trace(counting(), {at::rand({3, 4})}, {.tune = false});
  check_every_moment([&](std::stop_token stop) { restore(traced.source().deepcopy(), stop); });
}

TEST_CASE("a trace that was told to stop before it began runs nothing") {
  std::stop_source stop;
  stop.request_stop();
  runs = 0;
  const auto reason = failure_of([&] { trace(counting(), {at::rand({3, 4})}, {}, stop.get_token()); });
  EXPECT(reason.code == errc::cancelled);
  EXPECT(runs == 0);
}

#include <ganglion/actors/coordinator/gather.hpp>

#include <support/doctest.hpp>

#include <functional>
#include <vector>

using namespace ganglion;

namespace {

/// A slot in each of the phases that it can be in, all under attempt 0 but `retried`.
enum class state { queued, running, committing, done, dropped, retried };

void bring(slot& s, state to) {
  if (to == state::queued) return;
  if (to == state::dropped) {
    REQUIRE(s.drop());
    return;
  }
  if (to == state::retried) {
    REQUIRE(s.start(0));
    REQUIRE(s.retry());
    return;
  }
  REQUIRE(s.start(0));
  if (to == state::running) return;
  REQUIRE(s.begin_commit(0));
  if (to == state::done) s.end_commit();
}

const std::vector<state> all_states{state::queued, state::running, state::committing,
                                    state::done,   state::dropped, state::retried};

/// Whether a move succeeds from each of `all_states`.
std::vector<bool> allowed(const std::function<bool(slot&)>& move) {
  std::vector<bool> result;
  for (auto from : all_states) {
    slot s{0, 1, 0};
    bring(s, from);
    result.push_back(move(s));
  }
  return result;
}

using bools = std::vector<bool>;

}  // namespace

TEST_CASE("a slot makes exactly the moves of its diagram") {
  //                                                          queued running committing done dropped retried
  EXPECT(allowed([](slot& s) { return s.start(s.attempt()); }) == bools{true, false, false, false, false, true});
  EXPECT(allowed([](slot& s) { return s.begin_commit(s.attempt()); }) ==
         bools{false, true, false, false, false, false});
  EXPECT(allowed([](slot& s) { return s.drop(); }) == bools{true, true, false, false, false, true});
  EXPECT(allowed([](slot& s) { return s.retry(); }) == bools{true, true, false, false, false, true});
}

TEST_CASE("no move succeeds for an attempt that is not the slot's") {
  for (auto stale : {1u, 2u, 0xffffffffu}) {
    EXPECT(allowed([stale](slot& s) { return s.start(s.attempt() + stale); }) == bools(6, false));
    EXPECT(allowed([stale](slot& s) { return s.begin_commit(s.attempt() + stale); }) == bools(6, false));
  }
}

TEST_CASE("a revoked attempt can neither start nor commit, and the next one can") {
  slot s{3, 4, 5};
  REQUIRE(s.start(0));
  REQUIRE(s.retry());
  EXPECT(s.attempt() == 1);
  EXPECT_FALSE(s.begin_commit(0));
  EXPECT_FALSE(s.start(0));
  EXPECT(s.start(1));
  EXPECT(s.begin_commit(1));
  s.end_commit();
  EXPECT_FALSE(s.drop());
  EXPECT(s.first_row() == 3);
  EXPECT(s.rows() == 4);
  EXPECT(s.chunk() == 5);
}

TEST_CASE("the commit of a dropped slot does not begin, whatever was running") {
  slot s{0, 1, 0};
  REQUIRE(s.start(0));
  REQUIRE(s.drop());
  EXPECT_FALSE(s.begin_commit(0));
  EXPECT_FALSE(s.begin_commit(1));
  EXPECT_FALSE(s.start(1));
  EXPECT_FALSE(s.retry());
}

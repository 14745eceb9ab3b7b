#include "formation_fixture.hpp"

#include <support/errors.hpp>

using namespace ganglion;
using namespace ganglion::test;
using namespace std::chrono_literals;

namespace {

/// One core for a model of several programs; what an execution takes is told beforehand.
struct programs_fixture : formation_fixture {
  std::shared_ptr<const deployment> d;

  explicit programs_fixture(const compiled_model& model, coalescing_options options = {}, std::vector<double> pad = {})
      : formation_fixture({2, 0, 2}) {
    d = std::make_shared<const deployment>(
        deployment{1, model, make_program_set(model, 0, std::move(pad)).value(), {0}, options});
    queue.add(d, {});
    queue.core_up(0);
  }
  void measure(std::vector<double> milliseconds) {
    for (std::size_t p = 0; p < milliseconds.size(); ++p) queue.expect_seconds(1, p, milliseconds[p] * 1e-3);
  }
  sent_request send(at::Tensor x, bool dynamic = true, std::optional<std::int64_t> split = {}) {
    sent_request r;
    auto inputs = match_inputs(d->model, d->programs, {std::move(x)}).value();
    r.value = request::admit(request::next_id(), d, std::move(inputs), gate,
                             [got = r.got](response&& o) { got->all.push_back(std::move(o)); })
                  .value();
    r.id = r.value->id();
    r.value->plan(dynamic, split);
    queue.enqueue(std::exchange(r.value, nullptr), now);
    return r;
  }
  /// The next execution as `program:batch:rows`; it is finished at once.
  std::string next() {
    pump();
    if (held[0].empty()) return "nothing";
    const auto& work = *held[0].front();
    auto text = std::to_string(work.program) + ":" + std::to_string(work.batch) + ":" + std::to_string(work.rows());
    finish(0);
    return text;
  }
};

compiled_model sizes_model() { return plus_one_for({{8, 2}, {1, 2}, {32, 2}}); }
compiled_model lengths_model() { return plus_one_for({{4, 2}, {4, 8}, {2, 8}}); }

}  // namespace

TEST_CASE("programs: the cheapest cover by measured cost picks the program, not a fixed rule") {
  const auto model = sizes_model();
  SUBCASE("where a large batch costs little more, it is padded") {
    programs_fixture f(model);
    f.measure({3, 2, 4});
    auto r = f.send(numbered_rows(11));
    EXPECT(f.next() == "2:32:11");
    expect_answered(r, 11);
  }
  SUBCASE("where costs follow the rows, small ones make up the rest") {
    programs_fixture f(model);
    f.measure({8, 1, 40});
    auto r = f.send(numbered_rows(11));
    EXPECT(f.next() == "0:8:8");
    for (int i = 0; i < 3; ++i) EXPECT(f.next() == "1:1:1");
    expect_answered(r, 11);
  }
}

TEST_CASE("programs: what is measured while running changes the choice") {
  programs_fixture f(sizes_model());
  f.measure({3, 2, 4});
  auto a = f.send(numbered_rows(8));
  f.pump();
  REQUIRE(f.held[0].front()->program == 0);
  f.finish(0, 0, 1s);  // the program for 8 rows is slow now
  bool changed = false;
  for (int i = 0; i < 20 && !changed; ++i) {
    auto r = f.send(numbered_rows(8));
    f.pump();
    changed = f.held[0].front()->program == 2;
    f.finish(0, 0, 1s);
  }
  EXPECT(changed);
}

TEST_CASE("programs: deterministic runs every row on the largest, whatever it costs") {
  programs_fixture f(sizes_model(), {0ns, 1s, true});
  f.measure({1, 1, 40});
  auto r = f.send(numbered_rows(1));
  EXPECT(f.next() == "2:32:1");
  auto split = f.send(numbered_rows(3), true, 2);
  EXPECT(f.next() == "2:32:2");
  EXPECT(f.next() == "2:32:1");
  expect_answered(r, 1);
  expect_answered(split, 3);
}

TEST_CASE("programs: deterministic joins requests only where every core found that a row's place does not matter") {
  const auto batches = [](std::vector<bool> found) {
    programs_fixture f(sizes_model(), {0ns, 1s, true});
    f.measure({1, 1, 40});
    for (const bool alike : found) f.queue.expect_places(1, alike);
    auto a = f.send(numbered_rows(3)), b = f.send(numbered_rows(2));
    const auto first = f.next(), second = f.next();
    expect_answered(a, 3);
    expect_answered(b, 2);
    return first + " " + second;
  };
  EXPECT(batches({true, true}) == "2:32:5 nothing");
  EXPECT(batches({true, false, true}) == "2:32:3 2:32:2");
  EXPECT(batches({}) == "2:32:3 2:32:2");
}

TEST_CASE("programs: chunks that may not be joined take the cheapest program that holds them") {
  programs_fixture f(sizes_model());
  f.measure({3, 2, 4});
  auto r = f.send(numbered_rows(9), true, 8);
  EXPECT(f.next() == "0:8:8");
  EXPECT(f.next() == "1:1:1");
  expect_answered(r, 9);
}

TEST_CASE("programs: without dynamic batching any of the compiled sizes is taken exactly, and no other") {
  programs_fixture f(sizes_model());
  f.measure({3, 9, 4});
  for (auto [rows, wanted] : {std::pair{8, "0:8:8"}, {1, "1:1:1"}, {32, "2:32:32"}}) {
    auto r = f.send(numbered_rows(rows), false);
    EXPECT(f.next() == wanted);
    expect_answered(r, rows);
  }
  auto r = f.send(numbered_rows(7), false);
  REQUIRE(r.got->once());
  EXPECT(r.got->only().error.code == errc::batch_size_mismatch);
  EXPECT(contains(r.got->only().error.text, "is 7, but the model was compiled for 1, 8, 32"));
  EXPECT(contains(r.got->only().error.text, "so give 1 or 8 or 32 rows"));
}

TEST_CASE("programs: rows of different buckets are never in one execution, and the buckets take turns") {
  programs_fixture f(lengths_model());
  f.measure({1, 1, 1});
  std::vector<sent_request> all;
  for (int i = 0; i < 4; ++i) {
    all.push_back(f.send(at::full({4, 2}, float(i))));
    all.push_back(f.send(at::full({4, 8}, float(10 + i))));
  }
  f.pump();
  std::map<std::size_t, int> ran;
  for (int i = 0; i < 8; ++i) {
    const auto& work = *f.held[0].front();
    for (const auto& p : work.parts) EXPECT(p.owner->bucket() == work.parts.front().owner->bucket());
    ++ran[work.program];
    EXPECT(std::abs(ran[0] - ran[1]) <= 1);
    f.finish(0);
    f.pump();
  }
  for (const auto& r : all) {
    REQUIRE(r.got->once());
    const auto& y = r.got->only().outputs.toTensor();
    EXPECT(y.size(0) == 4);
    EXPECT(at::equal(y, at::full_like(y, y[0][0].item<float>())));
  }
  f.expect_all_gone();
}

TEST_CASE("programs: a batch of one bucket that is not full does not wait for the other bucket's end") {
  programs_fixture f(lengths_model());
  f.measure({1, 1, 1});
  auto a = f.send(at::zeros({4, 2}));
  REQUIRE(f.pump() == 1);
  auto b = f.send(at::zeros({1, 8}));
  EXPECT(f.pump() == 1);
  f.run_all();
  REQUIRE(a.got->once());
  REQUIRE(b.got->once());
}

TEST_CASE("programs: shorter rows go padded into the bucket's executions, beside longer ones, and are trimmed") {
  programs_fixture f(lengths_model(), {}, {-1});
  f.measure({1, 1, 1});
  auto blocks = f.send(at::zeros({4, 8}));
  auto more = f.send(at::zeros({4, 8}));
  REQUIRE(f.pump() == 2);
  auto shorter = f.send(at::full({1, 5}, 5.f)), longer = f.send(at::full({2, 8}, 8.f)),
       shortest = f.send(at::full({1, 3}, 3.f));
  f.finish(0);
  f.pump();
  REQUIRE(f.held[0].size() == 2);
  const auto& work = *f.held[0][1];
  EXPECT(work.parts.size() == 3);
  const auto x = staging{}.assemble(work).at(0).toTensor();
  EXPECT(x.sizes() == at::IntArrayRef{4, 8});
  EXPECT(at::equal(x[0].slice(0, 5), at::full({3}, -1.f)));
  EXPECT(at::equal(x[3].slice(0, 3), at::full({5}, -1.f)));
  f.run_all();
  const std::pair<const sent_request*, at::Tensor> wanted[] = {
      {&shorter, at::full({1, 5}, 6.f)}, {&longer, at::full({2, 8}, 9.f)}, {&shortest, at::full({1, 3}, 4.f)}};
  for (const auto& [r, y] : wanted) {
    REQUIRE(r->got->once());
    EXPECT(at::equal(r->got->only().outputs.toTensor(), y));
  }
  f.expect_all_gone();
}

#include <ganglion/actors/coordinator/gather.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>
#include <support/random_parts.hpp>
#include <support/values.hpp>

#include <ganglion/actors/coordinator/chunk_plan.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <deque>
#include <limits>
#include <numeric>
#include <random>

using namespace ganglion;
using ganglion::test::random_parts;

namespace {

/// A gather with slots of the given rows, and what it delivered.
struct gather_fixture {
  std::vector<response> delivered;
  std::deque<slot> slots;
  std::optional<gather> all;

  explicit gather_fixture(const std::vector<std::int64_t>& parts, bool sliced = true,
                   std::vector<std::int64_t> out_axis = {}, std::vector<at::Tensor> outputs = {}) {
    gather_config config;
    config.outputs = std::move(outputs);
    config.sliced = sliced;
    config.chunks = parts.size();
    config.out_axis = std::move(out_axis);
    for (auto rows : parts) {
      slots.emplace_back(config.rows, rows, slots.size());
      config.rows += rows;
    }
    all.emplace(config, [this](response&& o) { delivered.push_back(std::move(o)); });
  }

  /// Runs a slot to its commit.
  bool commit(std::size_t i, const c10::IValue& outputs, std::int64_t offset, std::int64_t batch,
              std::int32_t core = 0) {
    slots[i].start(slots[i].attempt());
    return all->commit(slots[i], slots[i].attempt(), outputs, offset, batch, core);
  }
  /// Commits outputs that are exactly the slot's rows.
  bool commit(std::size_t i, const c10::IValue& outputs) { return commit(i, outputs, 0, slots[i].rows()); }

  const response& only() const {
    REQUIRE(delivered.size() == 1);
    return delivered.front();
  }
  const failure& only_failure() const {
    REQUIRE_FALSE(only().ok());
    return only().error;
  }
};


at::Tensor numbers(at::IntArrayRef sizes, at::ScalarType dtype = at::kFloat) {
  return at::arange(c10::multiply_integers(sizes), at::kLong).view(sizes).to(dtype);
}

std::vector<std::size_t> shuffled(std::size_t count, std::mt19937& random) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

}  // namespace

// -- gather(scatter(x)) = x -------------------------------------------------------------------------------------------

TEST_CASE("rows that were cut into slices, padded and committed in any order come back as they were") {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    auto parts = random_parts(random, 12, 7);
    gather_fixture f{parts};
    auto rows = std::accumulate(parts.begin(), parts.end(), std::int64_t{0});
    auto x = numbers({rows, 3, 2});
    auto y = numbers({rows}, at::kLong) * 5;
    for (auto i : shuffled(parts.size(), random)) {
      REQUIRE(f.delivered.empty());
      // The slot's rows stand somewhere inside an execution, between rows of others and padding.
      auto before = static_cast<std::int64_t>(random() % 3), after = static_cast<std::int64_t>(random() % 3);
      auto batch = before + parts[i] + after;
      auto outputs_x = at::full({batch, 3, 2}, -1.f);
      auto outputs_y = at::full({batch}, -1, at::kLong);
      outputs_x.narrow(0, before, parts[i]).copy_(x.narrow(0, f.slots[i].first_row(), parts[i]));
      outputs_y.narrow(0, before, parts[i]).copy_(y.narrow(0, f.slots[i].first_row(), parts[i]));
      // A program may return any strides.
      if (random() % 2 == 0) outputs_x = outputs_x.transpose(0, 2).contiguous().transpose(0, 2);
      REQUIRE(f.commit(i, tuple({outputs_x, outputs_y, 7}), before, batch));
    }
    const auto& elements = f.only().outputs.toTupleRef().elements();
    REQUIRE(at::equal(elements[0].toTensor(), x));
    REQUIRE(at::equal(elements[1].toTensor(), y));
    REQUIRE(elements[2].toInt() == 7);
  }
}

TEST_CASE("chunks that were cut along any dimension and kept in any order come back as they were") {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    auto rank = 1 + static_cast<std::int64_t>(random() % 4);
    auto axis = static_cast<std::int64_t>(random() % static_cast<unsigned>(rank));
    auto parts = random_parts(random, 8, 4);
    std::vector<std::int64_t> sizes;
    for (std::int64_t d = 0; d < rank; ++d) sizes.push_back(1 + static_cast<std::int64_t>(random() % 3));
    sizes[static_cast<std::size_t>(axis)] = std::accumulate(parts.begin(), parts.end(), std::int64_t{0});
    auto x = numbers(sizes);
    gather_fixture f{parts, false, {axis}};
    for (auto i : shuffled(parts.size(), random)) {
      REQUIRE(f.delivered.empty());
      REQUIRE(f.commit(i, x.narrow(axis, f.slots[i].first_row(), parts[i])));
    }
    REQUIRE(f.only().ok());
    REQUIRE(at::equal(f.only().outputs.toTensor(), x));
  }
}

TEST_CASE("rows of no elements are gathered too") {
  gather_fixture f{{2, 1}};
  f.commit(0, at::zeros({2, 0}));
  f.commit(1, at::zeros({1, 0}));
  EXPECT(f.only().outputs.toTensor().sizes() == at::IntArrayRef{3, 0});
}

TEST_CASE("the structure of the outputs is kept") {
  for (bool sliced : {true, false}) {
    gather_fixture f{{1, 2}, sliced, {0, 0, 0}};
    c10::Dict<std::string, at::Tensor> dict;
    auto outputs = [](std::int64_t rows, float value) {
      c10::Dict<std::string, at::Tensor> named;
      named.insert("a", at::full({rows, 1}, value));
      c10::List<at::Tensor> list;
      list.push_back(at::full({rows}, value));
      list.push_back(at::full({rows}, value).to(at::kHalf));
      return tuple({named, list, "text", c10::IValue{}});
    };
    f.commit(1, outputs(2, 2));
    f.commit(0, outputs(1, 1));
    const auto& elements = f.only().outputs.toTupleRef().elements();
    EXPECT(at::equal(elements[0].toGenericDict().at("a").toTensor().flatten(), at::tensor({1.f, 2.f, 2.f})));
    EXPECT(at::equal(elements[1].toList().get(0).toTensor(), at::tensor({1.f, 2.f, 2.f})));
    EXPECT((elements[1].toList().get(1).toTensor().scalar_type() == at::kHalf));
    EXPECT(elements[2].toStringRef() == "text");
    EXPECT(elements[3].isNone());
  }
}

TEST_CASE("None is an output as any other: beside a tensor it is a mismatch, whichever comes first") {
  for (bool sliced : {true, false})
    for (bool none_first : {true, false}) {
      gather_fixture f{{2, 2}, sliced, {0}};
      f.commit(0, none_first ? c10::IValue{} : c10::IValue{numbers({2, 2})});
      f.commit(1, none_first ? c10::IValue{numbers({2, 2})} : c10::IValue{});
      EXPECT(f.only().error.code == errc::gather_mismatch);
    }
}

TEST_CASE("a 0-dimensional output becomes a vector with one element a chunk") {
  gather_fixture f{{2, 2, 2}, false, {-1, 0}};
  for (std::size_t i : {2, 0, 1}) f.commit(i, tuple({at::scalar_tensor(10.0 + static_cast<double>(i)), at::ones({2})}));
  const auto& elements = f.only().outputs.toTupleRef().elements();
  EXPECT(at::equal(elements[0].toTensor(), at::tensor({10.f, 11.f, 12.f})));
  EXPECT(elements[1].toTensor().size(0) == 6);
}

// -- whose memory -----------------------------------------------------------------------------------------------------

TEST_CASE("the answer has storage of its own, also where the program returned its input") {
  for (bool sliced : {true, false}) {
    for (std::size_t chunks : {1, 2}) {
      auto input = numbers({static_cast<std::int64_t>(chunks) * 2, 2});
      gather_fixture f{std::vector<std::int64_t>(chunks, 2), sliced, {0}};
      for (std::size_t i = 0; i < chunks; ++i) f.commit(i, input.narrow(0, static_cast<std::int64_t>(i) * 2, 2));
      auto answer = f.only().outputs.toTensor();
      EXPECT(at::equal(answer, input));
      EXPECT_FALSE(answer.is_alias_of(input));
      input.fill_(-1);
      EXPECT(answer[0][1].item<float>() == 1.f);
    }
  }
}

TEST_CASE("the answer is written into the tensors that were given, and those are returned") {
  for (bool sliced : {true, false}) {
    auto x = at::full({3, 2}, -1.f), y = at::full({3}, -1, at::kLong);
    gather_fixture f{{2, 1}, sliced, {0, 0}, {x, y}};
    f.commit(1, tuple({numbers({3, 2}).narrow(0, 2, 1), 5, numbers({3}, at::kLong).narrow(0, 2, 1)}));
    f.commit(0, tuple({numbers({3, 2}).narrow(0, 0, 2), 5, numbers({3}, at::kLong).narrow(0, 0, 2)}));
    const auto& elements = f.only().outputs.toTupleRef().elements();
    EXPECT(elements[0].toTensor().is_same(x));
    EXPECT(elements[1].toInt() == 5);
    EXPECT(elements[2].toTensor().is_same(y));
    EXPECT(at::equal(x, numbers({3, 2})));
    EXPECT(at::equal(y, numbers({3}, at::kLong)));
  }
}

TEST_CASE("a tensor that was given and does not fit the outputs fails the request, and nothing is written to it") {
  for (bool sliced : {true, false})
    for (auto given : {at::full({4, 2}, -1.f), at::full({3, 2}, -1.0, at::kDouble)}) {
      gather_fixture f{{2, 1}, sliced, {0}, {given}};
      f.commit(0, numbers({2, 2}));
      f.commit(1, numbers({1, 2}));
      EXPECT(f.only_failure().code == errc::gather_mismatch);
      EXPECT(contains(f.only_failure().text, "is f32[3,2], but the tensor that was given for it is f"));
      EXPECT(at::all(given == -1).item<bool>());
    }
}

TEST_CASE("the answer is an ordinary tensor that can be written to, also where the program ran in inference mode") {
  for (bool sliced : {true, false}) {
    gather_fixture f{{2}, sliced, {0}};
    {
      c10::InferenceMode inference;
      f.commit(0, at::ones({2, 2}));
    }
    auto answer = f.only().outputs.toTensor();
    EXPECT_FALSE(answer.is_inference());
    answer.add_(1);
    EXPECT(answer[0][0].item<float>() == 2.f);
  }
}

// -- what does not fit together ---------------------------------------------------------------------------------------

TEST_CASE("chunks whose outputs disagree fail the request and name the chunk and its rows") {
  for (bool sliced : {true, false}) {
    auto fail_with = [sliced](const c10::IValue& first, const c10::IValue& second) {
      gather_fixture f{{2, 2}, sliced, {0, 0}};
      f.commit(0, first, 0, 2, 3);
      f.commit(1, second, 0, 2, 4);
      auto failed = f.only_failure();
      NOTE(failed.text);
      EXPECT(failed.code == errc::gather_mismatch);
      EXPECT(contains(failed.text, "chunk 1"));
      EXPECT(failed.first_row == 2);
      EXPECT(failed.last_row == 4);
      EXPECT(failed.core == 4);
      return failed.text;
    };
    SUBCASE("dtype") {
      auto text = fail_with(at::ones({2, 3}), at::ones({2, 3}, at::kDouble));
      EXPECT(contains(text, "f64[2,3]"));
    }
    SUBCASE("trailing shape") { fail_with(at::ones({2, 3}), at::ones({2, 1})); }
    SUBCASE("number of dimensions") { fail_with(at::ones({2, 3}), at::ones({2, 3, 1})); }
    SUBCASE("a value that is no tensor") {
      auto text = fail_with(tuple({at::ones({2}), 7}), tuple({at::ones({2}), 8}));
      EXPECT(contains(text, "7"));
      EXPECT(contains(text, "8"));
    }
    SUBCASE("the type of a value that is no tensor") {
      fail_with(tuple({at::ones({2}), 7}), tuple({at::ones({2}), 7.0}));
    }
    SUBCASE("the number of outputs") { fail_with(tuple({at::ones({2}), 7}), tuple({at::ones({2})})); }
    SUBCASE("a tensor and a tuple") { fail_with(at::ones({2}), tuple({at::ones({2})})); }
    SUBCASE("a tensor and a number in its place") {
      fail_with(tuple({at::ones({2}), at::ones({2})}), tuple({at::ones({2}), 1}));
    }
  }
}

TEST_CASE("a NaN that all chunks return as a number is no mismatch") {
  for (bool sliced : {true, false}) {
    gather_fixture f{{1, 1}, sliced, {0}};
    for (std::size_t i : {0, 1}) f.commit(i, tuple({at::ones({1}), std::numeric_limits<double>::quiet_NaN()}));
    EXPECT(f.only().ok());
  }
}

TEST_CASE("an execution that returns another number of rows than it was given cannot be cut") {
  gather_fixture f{{2}};
  f.commit(0, at::ones({1, 3}), 0, 4);
  EXPECT(f.only_failure().code == errc::gather_mismatch);
  EXPECT(contains(f.only_failure().text, "f32[1,3]"));
  EXPECT(contains(f.only_failure().text, "execution of 4 rows"));

  gather_fixture later{{2, 2}};
  later.commit(0, at::ones({4, 3}), 0, 4);
  later.commit(1, at::ones({2, 3}), 0, 4);
  EXPECT(later.only_failure().code == errc::gather_mismatch);
}

TEST_CASE("a 0-dimensional output cannot be cut into rows") {
  gather_fixture f{{2}};
  f.commit(0, at::scalar_tensor(1.0));
  EXPECT(f.only_failure().code == errc::gather_mismatch);
}

TEST_CASE("after a mismatch the answer still waits for all rows") {
  gather_fixture f{{1, 1, 1}};
  f.commit(0, at::ones({1}));
  f.commit(1, at::ones({1}, at::kLong));
  EXPECT(f.all->failed());
  EXPECT(f.delivered.empty());
  f.commit(2, at::ones({1}));
  EXPECT(f.only_failure().code == errc::gather_mismatch);
}

// -- once -------------------------------------------------------------------------------------------------------------

TEST_CASE("a late commit of a revoked attempt changes nothing") {
  gather_fixture f{{2, 2}};
  REQUIRE(f.slots[0].start(0));
  REQUIRE(f.slots[0].retry());
  EXPECT_FALSE(f.all->commit(f.slots[0], 0, at::full({2}, 66.f), 0, 2, 0));
  REQUIRE(f.commit(0, at::full({2}, 1.f)));
  EXPECT_FALSE(f.all->commit(f.slots[0], 0, at::full({2}, 66.f), 0, 2, 0));
  EXPECT_FALSE(f.all->commit(f.slots[0], 1, at::full({2}, 66.f), 0, 2, 0));
  EXPECT(f.delivered.empty());
  f.commit(1, at::full({2}, 2.f));
  EXPECT(at::equal(f.only().outputs.toTensor(), at::tensor({1.f, 1.f, 2.f, 2.f})));
}

TEST_CASE("the first failure is the request's") {
  gather_fixture f{{1, 1}};
  f.all->fail({errc::cancelled, "first"});
  f.all->fail({errc::core_lost, "second"});
  f.commit(0, at::ones({1}));
  f.all->drop(f.slots[1]);
  EXPECT(f.only_failure() == failure{errc::cancelled, "first"});
  EXPECT(f.only().outputs.isNone());
}

TEST_CASE("dropping a slot twice, or one that is done, resolves nothing a second time") {
  gather_fixture f{{1, 1, 1}};
  f.all->fail({errc::cancelled, "x"});
  f.all->drop(f.slots[0]);
  f.all->drop(f.slots[0]);
  f.commit(1, at::ones({1}));
  f.all->drop(f.slots[1]);
  EXPECT(f.delivered.empty());
  f.all->drop_rows(1);
  EXPECT(f.delivered.size() == 1);
}

TEST_CASE("every interleaving of commits, retries, drops and failures answers exactly once") {
  std::mt19937 random(4);
  for (int round = 0; round < 2'000; ++round) {
    auto parts = random_parts(random, 6, 3);
    gather_fixture f{parts};
    std::vector<bool> resolved(parts.size(), false);
    std::vector<std::int64_t> value(parts.size());
    bool failed = false;
    std::size_t left = parts.size();
    while (left > 0) {
      REQUIRE(f.delivered.empty());
      auto i = random() % parts.size();
      auto& s = f.slots[i];
      auto outputs = at::full({parts[i]}, static_cast<float>(i));
      switch (random() % 8) {
        case 0: s.start(s.attempt()); break;
        case 1: s.retry(); break;
        case 2:
          if (s.attempt() > 0)
            REQUIRE_FALSE(f.all->commit(s, s.attempt() - 1, at::full({parts[i]}, 66.f), 0, parts[i], 0));
          break;
        case 3:
          if (random() % 20 == 0) {
            f.all->fail({errc::cancelled, "stop"});
            failed = true;
          }
          break;
        case 4:
          if (!failed || resolved[i]) break;
          resolved[i] = true;
          --left;
          f.all->drop(s);
          break;
        default:
          // Succeeds exactly where the slot was running and nobody had resolved it.
          if (f.all->commit(s, s.attempt(), outputs, 0, parts[i], 0)) {
            REQUIRE_FALSE(resolved[i]);
            resolved[i] = true;
            --left;
          }
      }
    }
    REQUIRE(f.delivered.size() == 1);
    REQUIRE(f.only().ok() == !failed);
    if (failed) continue;
    auto answer = f.only().outputs.toTensor();
    for (std::size_t i = 0; i < parts.size(); ++i)
      REQUIRE((answer.narrow(0, f.slots[i].first_row(), parts[i]) == static_cast<float>(i)).all().item<bool>());
  }
}

TEST_CASE("a gather that is destroyed before its answer delivers draining once") {
  gather_fixture f{{1, 1}};
  f.commit(0, at::ones({1}));
  f.all.reset();
  EXPECT(f.only_failure().code == errc::draining);

  gather_fixture answered{{1}};
  answered.commit(0, at::ones({1}));
  answered.all.reset();
  EXPECT(answered.only().ok());

  gather_fixture failed{{1}};
  failed.all->fail({errc::cancelled, "the reason that came first"});
  failed.all.reset();
  EXPECT(failed.only_failure().code == errc::cancelled);
}

TEST_CASE("a request of no rows is answered with the outputs that are given") {
  gather_fixture f{{}};
  f.all->deliver_empty(tuple({at::zeros({0, 3}), 5}));
  const auto& elements = f.only().outputs.toTupleRef().elements();
  EXPECT(elements[0].toTensor().sizes() == at::IntArrayRef{0, 3});
  EXPECT(elements[1].toInt() == 5);
}

TEST_CASE("an answer that does not fit in memory fails with its size, sliced or not") {
  const auto row = std::int64_t{1} << 45;
  gather_fixture sliced{{2, 2}};
  sliced.commit(0, at::zeros({1, 1}).expand({2, row}));
  sliced.commit(1, at::zeros({1, 1}).expand({2, row}));
  EXPECT(sliced.only_failure().code == errc::core_memory_exceeded);
  EXPECT(sliced.only_failure().text ==
         "the answer's output of f32[4,35184372088832] does not fit in memory: send fewer rows at once");
  gather_fixture joined{{2, 2}, false, {0}};
  joined.commit(0, at::zeros({1, 1}).expand({2, row}));
  joined.commit(1, at::zeros({1, 1}).expand({2, row}));
  EXPECT(joined.only_failure() == sliced.only_failure());
}

#include <src/fused/fused_plan.hpp>

#include <support/doctest.hpp>

using namespace ganglion;

namespace {

using operation = fused_step::operation;

/// Plans over values that are all alike; value 0 is the input.
struct plan_of {
  fused_plan plan{{{at::kFloat, {1, 4, 8, 8}}}, {}, {0}, {}};

  std::size_t step(operation what, std::vector<std::size_t> inputs) {
    fused_step s;
    s.what = what;
    s.inputs = std::move(inputs);
    s.output = plan.values.size();
    if (what == operation::each_element) s.after = {{elementwise::relu}};
    plan.values.push_back(plan.values[0]);
    plan.steps.push_back(std::move(s));
    return plan.steps.back().output;
  }
  fused_plan joined(std::vector<std::size_t> outputs) {
    plan.outputs = std::move(outputs);
    return with_steps_joined(plan);
  }
};

}  // namespace

TEST_CASE("a function of each element goes along with what made the element") {
  plan_of p;
  const auto made = p.step(operation::convolution, {0});
  const auto result = p.step(operation::each_element, {made});
  const auto joined = p.joined({result});
  REQUIRE(joined.steps.size() == 1);
  EXPECT(joined.steps[0].after.size() == 1);
  EXPECT(joined.steps[0].output == result);
}

TEST_CASE("a function stays apart where the value before it is used too") {
  plan_of p;
  const auto made = p.step(operation::convolution, {0});
  const auto result = p.step(operation::each_element, {made});
  EXPECT(p.joined({made, result}).steps.size() == 2);
  EXPECT(p.joined({result, p.step(operation::max_pool, {made})}).steps.size() == 3);
}

TEST_CASE("an addition goes along with the later of the operations that made its summands") {
  plan_of p;
  const auto stem = p.step(operation::convolution, {0});
  const auto body = p.step(operation::convolution, {stem});
  const auto shortcut = p.step(operation::convolution, {stem});
  const auto sum = p.step(operation::add, {body, shortcut});
  const auto result = p.step(operation::each_element, {sum});
  const auto joined = p.joined({result});
  REQUIRE(joined.steps.size() == 3);
  EXPECT(joined.steps[2].sum_with == body);
  EXPECT(joined.steps[2].after.size() == 1);
  EXPECT(joined.steps[2].output == result);
}

TEST_CASE("a block's input may be overwritten by its sum only when nobody looks at it any more") {
  plan_of p;
  const auto stem = p.step(operation::convolution, {0});
  const auto first = p.step(operation::convolution, {stem});
  const auto body = p.step(operation::convolution, {first});
  const auto sum = p.step(operation::add, {body, stem});
  const auto joined = p.joined({sum});
  REQUIRE(joined.steps.size() == 3);
  EXPECT(joined.steps[2].sum_with == stem);
  EXPECT(p.joined({sum, stem}).steps.size() == 4);             // the caller gets it
  const auto later = p.step(operation::max_pool, {stem});
  EXPECT(p.joined({sum, later}).steps.size() == 5);            // it is read again
}

TEST_CASE("an operation does not write to what it reads") {
  plan_of p;
  const auto stem = p.step(operation::convolution, {0});
  const auto body = p.step(operation::convolution, {stem});
  EXPECT(p.joined({p.step(operation::add, {body, stem})}).steps.size() == 3);
}

TEST_CASE("what the caller gave is never overwritten") {
  plan_of p;
  const auto body = p.step(operation::convolution, {0});
  const auto sum = p.step(operation::add, {body, 0});
  EXPECT(p.joined({sum}).steps.size() == 2);
}

TEST_CASE("a sum with itself, and one with another kind of value, stay apart") {
  plan_of p;
  const auto body = p.step(operation::convolution, {0});
  EXPECT(p.joined({p.step(operation::add, {body, body})}).steps.size() == 2);

  plan_of q;
  const auto stem = q.step(operation::max_pool, {0});
  q.plan.values[stem].sizes = {1, 4, 1, 1};
  const auto made = q.step(operation::convolution, {0});
  EXPECT(q.joined({q.step(operation::add, {made, stem})}).steps.size() == 3);
}

TEST_CASE("an operation that already has a function is not given a sum") {
  plan_of p;
  const auto stem = p.step(operation::max_pool, {0});
  const auto body = p.step(operation::convolution, {0});
  const auto function = p.step(operation::each_element, {body});
  const auto joined = p.joined({p.step(operation::add, {function, stem})});
  REQUIRE(joined.steps.size() == 3);
  EXPECT(joined.steps[1].after.size() == 1);
  EXPECT_FALSE(joined.steps[1].sum_with);
}

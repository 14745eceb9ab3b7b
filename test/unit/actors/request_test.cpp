#include <ganglion/actors/coordinator/request.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>
#include <support/requests.hpp>

#include <ATen/ATen.h>

using namespace ganglion;
using namespace ganglion::test;

namespace {

struct request_fixture {
  std::shared_ptr<admission> gate = std::make_shared<admission>();
  std::shared_ptr<const deployment> target = deployment_of(plus_one_model(4), 1, {0, 1});

  sent_request make(std::int64_t rows) { return make_request(target, rows, gate); }
  /// Everything that was counted at the gate has left it.
  void expect_all_gone() const {
    EXPECT(gate->queued_rows() == 0);
    EXPECT(gate->queued_bytes() == 0);
    EXPECT(gate->unanswered() == 0);
  }
};

}  // namespace

TEST_CASE("an admitted request is counted with its rows and bytes") {
  request_fixture f;
  auto r = f.make(6);
  EXPECT(r.value->rows() == 6);
  EXPECT(r.value->row_bytes() == 8);
  EXPECT(f.gate->queued_rows() == 6);
  EXPECT(f.gate->queued_bytes() == 48);
  EXPECT(f.gate->unanswered() == 1);
}

TEST_CASE("a request that the gate refuses never calls its sink") {
  request_fixture f;
  f.gate->close();
  bool called = false;
  auto refused = request::admit(1, f.target, {{numbered_rows(2)}, 2}, f.gate, [&](response&&) { called = true; });
  REQUIRE(refused.has_error());
  EXPECT(refused.error().code == errc::draining);
  EXPECT_FALSE(called);
  f.expect_all_gone();
}

TEST_CASE("a request that is dropped before it was planned is answered with draining") {
  request_fixture f;
  auto r = f.make(6);
  r.value.reset();
  REQUIRE(r.got->once());
  EXPECT(r.got->only().error.code == errc::draining);
  f.expect_all_gone();
}

TEST_CASE("a request that is dropped half way is answered with draining and leaves the queue's count once") {
  request_fixture f;
  auto r = f.make(6);
  r.value->plan(true, {});
  auto& s = r.value->add_slot(0, 4, 0);
  r.value->leave_queue(4);
  EXPECT(f.gate->queued_rows() == 2);
  s.start(0);
  r.value->answer().commit(s, 0, at::ones({4, 2}), 0, 4, 0);
  r.value.reset();
  REQUIRE(r.got->once());
  EXPECT(r.got->only().error.code == errc::draining);
  f.expect_all_gone();
}

TEST_CASE("a request that is answered leaves every count once") {
  request_fixture f;
  auto r = f.make(6);
  r.value->plan(true, {});
  for (std::size_t i = 0; i < r.value->chunks().size(); ++i) {
    auto chunk = r.value->chunks().at(i);
    auto& s = r.value->add_slot(chunk.first_row, chunk.rows, i);
    r.value->leave_queue(chunk.rows);
    s.start(0);
    r.value->answer().commit(s, 0, numbered_rows(chunk.rows, chunk.first_row), 0, chunk.rows, 0);
  }
  REQUIRE(r.got->once());
  EXPECT(at::equal(r.got->only().outputs.toTensor(), numbered_rows(6)));
  f.expect_all_gone();
  r.value.reset();
  EXPECT(r.got->once());
  f.expect_all_gone();
}

TEST_CASE("a refused request is answered once with the reason, planned or not, with rows or without") {
  for (bool planned : {false, true})
    for (std::int64_t rows : {0, 5}) {
      request_fixture f;
      auto r = f.make(rows);
      if (planned) r.value->plan(false, {});
      r.value->refuse({errc::batch_size_mismatch, "no"});
      REQUIRE(r.got->once());
      EXPECT(r.got->only().error == failure{errc::batch_size_mismatch, "no"});
      f.expect_all_gone();
      r.value.reset();
      EXPECT(r.got->once());
      f.expect_all_gone();
    }
}

TEST_CASE("a plan holds the rules of its time: cut and padded, by split size, or compiled chunks alone") {
  request_fixture f;
  auto dynamic = f.make(10);
  dynamic.value->plan(true, {});
  EXPECT(dynamic.value->dynamic_batching());
  EXPECT(dynamic.value->chunks().size() == 3);
  auto split = f.make(10);
  split.value->plan(true, 7);
  EXPECT(split.value->chunks().chunk_rows() == 7);
  auto fixed = f.make(8);
  fixed.value->plan(false, 7);
  EXPECT_FALSE(fixed.value->dynamic_batching());
  EXPECT(fixed.value->chunks().chunk_rows() == 4);
}

TEST_CASE("no rows are answered with empty outputs of the compiled trailing shapes and dtypes") {
  request_fixture f;
  auto model = trace(test_modules::nested_outputs(), {at::zeros({2, 3, 4}, at::kDouble)}, {auto_cast::none, false});
  f.target = deployment_of(model, 1, {0});
  auto got = std::make_shared<answers>();
  auto r = request::admit(1, f.target, {{at::zeros({0, 3, 4}, at::kDouble)}, 0}, f.gate,
                          [got](response&& o) { got->all.push_back(std::move(o)); })
               .value();
  r->plan(true, {});
  r->answer_empty();
  REQUIRE(got->once());
  const auto& elements = got->only().outputs.toTupleRef().elements();
  EXPECT(elements[0].toTensor().sizes() == at::IntArrayRef{0, 3, 4});
  EXPECT((elements[1].toList().get(1).toTensor().scalar_type() == at::kDouble));
  f.expect_all_gone();
}

TEST_CASE("tensors for the answer are checked against it before anything runs: number, kind, dtype and sizes") {
  request_fixture f;
  const checked_inputs inputs{{numbered_rows(6)}, 6};
  auto checked = [&](std::vector<at::Tensor> outputs) {
    auto result = check_outputs(*f.target, inputs, outputs);
    return result ? failure{} : result.error();
  };
  auto expect = [&](std::vector<at::Tensor> outputs, errc code, const std::string& part) {
    auto result = checked(std::move(outputs));
    NOTE(result.text);
    EXPECT(to_string(result.code) == to_string(code));
    EXPECT(contains(result.text, part));
  };
  EXPECT(checked({}).code == errc::ok);
  EXPECT(checked({at::empty({6, 2})}).code == errc::ok);
  expect({at::empty({6, 2}), at::empty({6, 2})}, errc::shape_mismatch,
         "2 output tensors were given, but the model returns 1");
  expect({at::empty({5, 2})}, errc::shape_mismatch, "is f32[5,2], but the answer will be f32[6,2]");
  expect({at::empty({6, 2}, at::kDouble)}, errc::shape_mismatch, "is f64[6,2], but the answer will be f32[6,2]");
  expect({at::Tensor{}}, errc::invalid_argument, "is not a contiguous tensor on the CPU");
  expect({at::empty({2, 6}).t()}, errc::invalid_argument, "is not a contiguous tensor on the CPU");
  expect({at::empty({6, 2}).requires_grad_()}, errc::invalid_argument, "requires gradients");
  expect({inputs.leaves[0].toTensor()}, errc::invalid_argument, "shares memory with an input");
  const auto freed = at::empty({6, 2});
  freed.storage().set_nbytes(0);
  expect({freed}, errc::invalid_argument, "has no memory for its values");
}

TEST_CASE("tensors for the answer along another dimension may have any size there, and two must not share memory") {
  const auto two = trace(test_modules::scripted("def forward(self, x):\n  return x + 1, x * 2\n"), {at::zeros({4, 2})},
                         {auto_cast::none, false});
  const auto columns = deployment_of(two, 1, {0, 1}, 1);
  const checked_inputs inputs{{at::zeros({4, 6})}, 6};
  auto code = [&](std::vector<at::Tensor> outputs) {
    auto result = check_outputs(*columns, inputs, outputs);
    return result ? errc::ok : result.error().code;
  };
  EXPECT(code({at::empty({4, 6}), at::empty({4, 7})}) == errc::ok);  // known when the answer is there
  EXPECT(code({at::empty({5, 6}), at::empty({4, 6})}) == errc::shape_mismatch);
  const auto both = at::empty({8, 6});
  EXPECT(code({both.narrow(0, 0, 4), both.narrow(0, 4, 4)}) == errc::ok);
  EXPECT(code({both.narrow(0, 0, 4), both.narrow(0, 3, 4)}) == errc::invalid_argument);
}

TEST_CASE("a sink that throws harms nobody, and the gate's log is told of it") {
  std::vector<std::string> said;
  auto gate = std::make_shared<admission>(admission_limits{}, nullptr, [&said](auto s) { said.emplace_back(s); });
  auto send = [&](gather::sink sink) {
    auto r = request::admit(request::next_id(), deployment_of(plus_one_model(4), 1, {0}), {{numbered_rows(1)}, 1}, gate,
                            std::move(sink));
    (*r)->refuse({errc::cancelled, "x"});
  };
  send([](response&&) { throw std::runtime_error("mine"); });
  send([](response&&) { throw 5; });
  send([](response&&) {});
  EXPECT(said == std::vector<std::string>{"the callback of a request threw: mine",
                                          "the callback of a request threw something that is no exception type of the "
                                          "standard"});
  EXPECT(gate->unanswered() == 0);
}

TEST_CASE("numbers of requests are unique") { EXPECT(request::next_id() != request::next_id()); }

TEST_CASE("the sink is let go once it was called") {
  request_fixture f;
  auto held = std::make_shared<int>(1);
  auto r = request::admit(1, f.target, {{numbered_rows(1)}, 1}, f.gate, [held](response&&) {}).value();
  EXPECT(held.use_count() == 2);
  r->refuse({errc::cancelled, "x"});
  EXPECT(held.use_count() == 1);
}

#include <ganglion/actors/core/execution.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>
#include <support/forward_gate.hpp>
#include <support/requests.hpp>

#include <ganglion/model_io/replica.hpp>

#include <ATen/ATen.h>

#include <thread>

using namespace ganglion;
using namespace ganglion::test;

namespace {

/// An execution of parts, one for each of the given row ranges.
struct execution_fixture {
  compiled_model model = plus_one_model(4);
  std::shared_ptr<const deployment> target = deployment_of(model, 1, {0});
  execution_ptr work = std::make_shared<execution>();
  staging buffers;

  execution_fixture() { work->batch = 4; }

  void add(const sent_request& r, std::int64_t first, std::int64_t rows) {
    if (!planned(r)) r.value->plan(true, {});
    auto& where = r.value->add_slot(first, rows, 0);
    work->parts.push_back({r.value, &where, 0, work->rows()});
  }
  at::Tensor assembled() { return buffers.assemble(*work).at(0).toTensor(); }

 private:
  std::vector<const request*> plans_;
  bool planned(const sent_request& r) {
    if (std::find(plans_.begin(), plans_.end(), r.value.get()) != plans_.end()) return true;
    plans_.push_back(r.value.get());
    return false;
  }
};

}  // namespace

TEST_CASE("a whole contiguous chunk is a view: nothing is copied") {
  execution_fixture f;
  auto r = make_request(f.target, 12);
  f.add(r, 4, 4);
  const auto& input = r.value->leaves()[0].toTensor();
  auto rows = f.assembled();
  EXPECT(rows.data_ptr() == static_cast<char*>(input.data_ptr()) + 4 * 2 * sizeof(float));
  EXPECT(at::equal(rows, input.narrow(0, 4, 4)));
}

TEST_CASE("a request of exactly the batch is its own input") {
  execution_fixture f;
  auto r = make_request(f.target, 4);
  f.add(r, 0, 4);
  EXPECT(f.assembled().data_ptr() == r.value->leaves()[0].toTensor().data_ptr());
}

TEST_CASE("padding repeats the last row") {
  execution_fixture f;
  auto r = make_request(f.target, 6);
  f.add(r, 4, 2);
  EXPECT(f.work->rows() == 2);
  EXPECT(f.work->padding_rows() == 2);
  auto rows = f.assembled();
  EXPECT(at::equal(rows, numbered_rows(6).index_select(0, at::tensor({4, 5, 5, 5}))));
  EXPECT_FALSE(rows.is_alias_of(r.value->leaves()[0].toTensor()));
}

TEST_CASE("the buffer of padded rows is used again and holds nothing of the time before") {
  execution_fixture f;
  auto first = make_request(f.target, 3);
  f.add(first, 0, 3);
  auto* buffer = f.assembled().data_ptr();
  f.work->parts.clear();
  auto second = make_request(f.target, 1, std::make_shared<admission>(), 50);
  f.add(second, 0, 1);
  auto rows = f.assembled();
  EXPECT(rows.data_ptr() == buffer);
  EXPECT(at::equal(rows, numbered_rows(1, 50).expand({4, 2})));
}

TEST_CASE("parts of several requests stand one after the other") {
  execution_fixture f;
  auto a = make_request(f.target, 5), b = make_request(f.target, 2, std::make_shared<admission>(), 90);
  f.add(a, 4, 1);
  f.add(b, 0, 2);
  auto rows = f.assembled();
  EXPECT(at::equal(rows.narrow(0, 0, 1), numbered_rows(1, 4)));
  EXPECT(at::equal(rows.narrow(0, 1, 2), numbered_rows(2, 90)));
  EXPECT(at::equal(rows[3], rows[2]));
}

TEST_CASE("rows that are not contiguous, and rows of another dimension than 0, are copied once into the right order") {
  auto model = trace(test_modules::plus_one(), {at::zeros({2, 3})}, {auto_cast::none, false});
  auto inputs = at::arange(12, at::kFloat);
  SUBCASE("strided rows") {
    execution_fixture f;
    f.target = deployment_of(model, 1, {0}, 0);
    f.work->batch = 2;
    auto strided = inputs.view({3, 4}).t();  // [4, 3]
    auto r = request::admit(1, f.target, {{strided}, 4}, std::make_shared<admission>(), [](response&&) {}).value();
    r->plan(false, {});
    auto& where = r->add_slot(2, 2, 1);
    f.work->parts.push_back({r, &where, 0, 0});
    EXPECT(f.assembled().is_contiguous());
    EXPECT(at::equal(f.assembled(), strided.narrow(0, 2, 2)));
  }
  SUBCASE("dim 1") {
    execution_fixture f;
    f.target = deployment_of(model, 1, {0, 1}, 1);
    f.work->batch = 3;
    auto wide = inputs.view({2, 6});
    auto r = request::admit(1, f.target, {{wide}, 6}, std::make_shared<admission>(), [](response&&) {}).value();
    r->plan(false, {});
    auto& where = r->add_slot(3, 3, 1);
    f.work->parts.push_back({r, &where, 0, 0});
    EXPECT(f.assembled().is_contiguous());
    EXPECT(at::equal(f.assembled(), wide.narrow(1, 3, 3)));
  }
}

TEST_CASE("leaves that are no rows go to every execution as they are") {
  auto model = trace(test_modules::with_numbers(), {at::zeros({2, 3}), 2.0, 1}, {auto_cast::none, false});
  execution_fixture f;
  f.target = deployment_of(model, 1, {0});
  f.work->batch = 2;
  auto r = request::admit(1, f.target, {{at::ones({3, 3}), 2.5, 4}, 3}, std::make_shared<admission>(), [](response&&) {
           }).value();
  r->plan(true, {});
  auto& where = r->add_slot(2, 1, 1);
  f.work->parts.push_back({r, &where, 0, 0});
  auto leaves = f.buffers.assemble(*f.work);
  REQUIRE(leaves.size() == 3);
  EXPECT(leaves[1].toDouble() == 2.5);
  EXPECT(leaves[2].toInt() == 4);
}

TEST_CASE("an execution runs its program and commits its rows, without the padding") {
  execution_fixture f;
  auto r = make_request(f.target, 3);
  f.add(r, 0, 3);
  auto program = f.model.make_replica();
  auto report = run_execution(f.work, program, f.buffers, 0);
  EXPECT(report.ran);
  EXPECT(report.error.code == errc::ok);
  EXPECT(report.started <= report.computed);
  EXPECT(report.computed <= report.ended);
  REQUIRE(r.got->once());
  EXPECT(at::equal(r.got->only().outputs.toTensor(), numbered_rows(3) + 1));
}

TEST_CASE("an execution of which all parts were taken back does not run") {
  execution_fixture f;
  auto r = make_request(f.target, 4);
  f.add(r, 0, 4);
  r.value->answer().fail({errc::cancelled, "x"});
  r.value->answer().drop(*f.work->parts[0].where);
  auto program = f.model.make_replica();
  EXPECT_FALSE(run_execution(f.work, program, f.buffers, 0).ran);
  REQUIRE(r.got->once());
  EXPECT(r.got->only().error.code == errc::cancelled);
}

TEST_CASE("a part that was taken back gets nothing, and the others get theirs") {
  execution_fixture f;
  auto a = make_request(f.target, 2), b = make_request(f.target, 2, std::make_shared<admission>(), 7);
  f.add(a, 0, 2);
  f.add(b, 0, 2);
  REQUIRE(f.work->parts[0].where->retry());
  auto program = f.model.make_replica();
  EXPECT(run_execution(f.work, program, f.buffers, 0).ran);
  EXPECT(a.got->all.empty());
  REQUIRE(b.got->once());
  EXPECT(at::equal(b.got->only().outputs.toTensor(), numbered_rows(2, 7) + 1));
}

TEST_CASE("what the model throws ends in the report, with the chunk, its rows and the core") {
  execution_fixture f;
  f.model = trace(test_modules::fails_on_marked_rows(), {at::zeros({4, 2})}, {auto_cast::none, false});
  f.target = deployment_of(f.model, 1, {0});
  auto r = make_request(f.target, 8, std::make_shared<admission>(), 1'000'000);
  f.add(r, 4, 4);
  auto program = f.model.make_replica();
  auto report = run_execution(f.work, program, f.buffers, 3);
  EXPECT(report.ran);
  EXPECT(report.error.code == errc::forward_failed);
  NOTE(report.error.text);
  EXPECT(contains(report.error.text, "a row is marked"));
  EXPECT(contains(report.error.text, "(rows 4 to 7) on core nc:3"));
  EXPECT(report.error.first_row == 4);
  EXPECT(report.error.last_row == 8);
  EXPECT(report.error.core == 3);
  EXPECT(r.got->all.empty());
}

TEST_CASE("what fails on a single row says so") {
  execution_fixture f;
  f.model = trace(test_modules::fails_on_marked_rows(), {at::zeros({4, 2})}, {auto_cast::none, false});
  f.target = deployment_of(f.model, 1, {0});
  auto r = make_request(f.target, 8, std::make_shared<admission>(), 1'000'000);
  f.add(r, 5, 1);
  auto program = f.model.make_replica();
  EXPECT(contains(run_execution(f.work, program, f.buffers, 3).error.text, "(row 5) on core nc:3"));
}

// -- several forwards -------------------------------------------------------------------------------------------------

namespace {

/// One request of 12 rows, of which an execution runs three batches of 4.
struct together_fixture : execution_fixture {
  sent_request r;

  explicit together_fixture(const torch::jit::Module& module, std::int64_t first = 0) {
    model = trace(module, {at::zeros({4, 2})}, {auto_cast::none, false});
    target = deployment_of(model, 1, {0});
    r = make_request(target, 16, std::make_shared<admission>(), first);
    add(r, 4, 12);
    work->forwards = 3;
  }
  execution_report run() {
    auto program = model.make_replica();
    auto report = run_execution(work, program, buffers, 3);
    r.value->answer().drop_rows(4);  // those of another execution
    return report;
  }
};

}  // namespace

TEST_CASE("several batches run one after the other, and their rows are committed together") {
  struct { torch::jit::Module module; float added; } table[] = {
      {test_modules::plus_one(), 1}, {test_modules::no_op(), 0}};  // which keeps the tensor that it was given
  for (auto& [module, added] : table) {
    together_fixture f{module};
    EXPECT(f.work->padding_rows() == 0);
    const auto x = f.r.value->leaves()[0].toTensor();
    const auto uses = x.storage().use_count();
    auto report = f.run();
    EXPECT(report.error.code == errc::ok);
    EXPECT(report.seconds_a_forward() * 3 == doctest::Approx(report.compute_seconds()));
    REQUIRE(f.r.got->once());
    EXPECT(at::equal(f.r.got->only().outputs.toTensor().narrow(0, 4, 12), numbered_rows(12, 4) + added));
    EXPECT(f.r.got->only().timing.executions == 3);
    EXPECT(f.r.got->only().timing.batched_rows == 12);
    EXPECT(f.r.got->only().timing.padded_rows == 0);
    // Nothing of them stays behind in the lane.
    report = {};
    f.work.reset();
    f.r = {};
    EXPECT(x.storage().use_count() == uses);
  }
}

TEST_CASE("several batches of outputs with structure, and of inputs that are not contiguous") {
  together_fixture f{test_modules::nested_outputs()};
  auto strided = numbered_rows(16).t().contiguous().t();
  sent_request r;
  r.value = request::admit(7, f.target, {{strided}, 16}, std::make_shared<admission>(), [got = r.got](response&& o) {
              got->all.push_back(std::move(o));
            }).value();
  f.work->parts.clear();
  f.add(r, 0, 12);
  f.run();
  r.value->answer().drop_rows(4);
  REQUIRE(r.got->once());
  const auto& elements = r.got->only().outputs.toTupleRef().elements();
  EXPECT(at::equal(elements[0].toTensor().narrow(0, 0, 12), numbered_rows(12) + 1));
  EXPECT(at::equal(elements[1].toListRef()[1].toTensor().narrow(0, 0, 12), numbered_rows(12) * 3));
}

TEST_CASE("of several parts of one request that fail together, the rows from the first to the last are named") {
  execution_fixture f;
  f.target = deployment_of(trace(test_modules::fails_on_marked_rows(), {at::zeros({4, 2})}, {auto_cast::none, false}),
                           1, {0});
  auto r = make_request(f.target, 12, std::make_shared<admission>(), 500'000);
  f.add(r, 8, 2);
  f.add(r, 2, 1);
  auto on = f.target->model.make_replica();
  auto report = run_execution(f.work, on, f.buffers, 3);
  NOTE(report.error.text);
  EXPECT(report.error.code == errc::forward_failed);
  EXPECT(contains(report.error.text, "(rows 2 to 9) on core nc:3"));
  EXPECT(report.error.first_row == 2);
  EXPECT(report.error.last_row == 10);
}

TEST_CASE("the batch that fails is named with its rows, and nothing is committed") {
  together_fixture f{test_modules::fails_on_marked_rows(), 500'000 - 9};  // from row 9 on values are above 1e6
  auto report = f.run();
  NOTE(report.error.text);
  EXPECT(report.error.code == errc::forward_failed);
  EXPECT(contains(report.error.text, "on chunk 2 (rows 8 to 11) on core nc:3"));
  EXPECT(report.error.first_row == 8);
  EXPECT(report.error.last_row == 12);
  EXPECT(report.forwards == 2);  // the third did not run
  EXPECT(f.r.got->all.empty());
}

TEST_CASE("batches that return different things are a mismatch of the one that differs") {
  struct { std::string otherwise, said; } table[] = {{"torch.narrow(x, 1, 0, 1)", "f32[4,1]"},
                                                     {"torch.narrow(x, 0, 0, 1)", "f32[1,2]"},
                                                     {"x.double()", "f64[4,2]"}};
  for (const auto& [otherwise, said] : table) {
    auto module = test_modules::scripted(
        "def forward(self, x):\n  y = x + 1\n  if bool(torch.any(x > 1000000)):\n    y = " + otherwise +
        "\n  return y\n");
    together_fixture f{module, 500'000 - 9};
    auto report = f.run();
    NOTE(report.error.text);
    EXPECT(report.error.code == errc::gather_mismatch);
    EXPECT(contains(report.error.text, said));
    EXPECT(report.error.first_row == 8);
    EXPECT(report.error.core == 3);
    EXPECT(f.r.got->all.empty());
  }
}

TEST_CASE("batches that are taken back while one of them runs stop there, and nothing of them is committed") {
  together_fixture f{gated_plus_one()};
  forward_gate gate;
  std::thread lane{[&] {
    auto report = f.run();
    EXPECT(report.ran);
    EXPECT(report.forwards == 1);
    EXPECT(report.rows() == 4);
  }};
  REQUIRE(gate.wait_for(1));
  f.r.value->answer().fail({errc::cancelled, "x"});
  f.r.value->answer().drop(*f.work->parts[0].where);
  gate.open();
  lane.join();
  REQUIRE(f.r.got->once());
  EXPECT(f.r.got->only().error.code == errc::cancelled);
}

// -- nobody waits -----------------------------------------------------------------------------------------------------

TEST_CASE("what nobody waits for any more is not started, and its neighbour is") {
  for (bool late : {true, false}) {
    execution_fixture f;
    request_options options;
    if (late) options.deadline = clock::now() - std::chrono::nanoseconds(1);
    auto a = make_request(f.target, 2, std::make_shared<admission>(), 0, options);
    auto b = make_request(f.target, 2, std::make_shared<admission>(), 7);
    if (!late) a.value->mark_cancelled();
    f.add(a, 0, 2);
    auto program = f.model.make_replica();
    EXPECT_FALSE(run_execution(f.work, program, f.buffers, 0).ran);
    f.add(b, 0, 2);
    EXPECT(run_execution(f.work, program, f.buffers, 0).ran);
    EXPECT(a.got->all.empty());
    REQUIRE(b.got->once());
    EXPECT(at::equal(b.got->only().outputs.toTensor(), numbered_rows(2, 7) + 1));
  }
}

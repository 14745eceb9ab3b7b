#include <ganglion/actors/protocol/handles.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>

#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <caf/all.hpp>
#include <caf/binary_deserializer.hpp>
#include <caf/binary_serializer.hpp>

#include <cmath>
#include <limits>
#include <random>

using namespace ganglion;

namespace {

using bytes = std::vector<char>;

template <class T>
bytes written(T& x) {
  bytes result;
  caf::binary_serializer sink{nullptr, result};
  auto err = sink(x);
  REQUIRE_FALSE(err);
  return result;
}

/// Reads a `T` and wants all bytes used.
template <class T>
caf::error read(const bytes& from, T& x) {
  caf::binary_deserializer source{nullptr, from};
  if (auto err = source(x)) return err;
  return source.remaining() == 0 ? caf::error{} : caf::make_error(caf::sec::invalid_argument, "bytes are left");
}

template <class T>
T round_trip(T x) {
  auto all = written(x);
  T y;
  auto err = read(all, y);
  NOTE(caf::to_string(err));
  REQUIRE_FALSE(err);
  return y;
}

/// Whatever is done to the bytes of `x`, reading them comes to an end and throws nothing.
template <class T>
void survive_hostile_bytes(T x, std::uint32_t seed) {
  auto all = written(x);
  for (std::size_t length = 0; length < all.size(); ++length) {
    T y;
    EXPECT(read(bytes(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(length)), y));
  }
  std::mt19937 random(seed);
  for (int round = 0; round < 3'000; ++round) {
    auto changed = all;
    for (auto n = 1 + random() % 4; n > 0; --n) changed[random() % changed.size()] = static_cast<char>(random());
    T y;
    DOCTEST_REQUIRE_NOTHROW(read(changed, y));
  }
  for (int round = 0; round < 1'000; ++round) {
    bytes noise(random() % 60);
    for (auto& byte : noise) byte = static_cast<char>(round % 3 == 0 ? 0xff : random());
    T y;
    DOCTEST_REQUIRE_NOTHROW(read(noise, y));
  }
}

failure some_failure() { return {errc::forward_failed, "the model failed on chunk 3", 12, 16, 2}; }

c10::IValue some_value() {
  constexpr auto nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  c10::Dict<std::string, at::Tensor> named;
  named.insert("mask", at::tensor({1, 0}).to(at::kBool));
  return c10::ivalue::Tuple::create({at::tensor({nan, inf, -inf, -0.0f, 1.5f}), named, at::scalar_tensor(3, at::kLong),
                                     std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity(),
                                     7, "text", c10::IValue{}, at::zeros({0, 3}, at::kBFloat16)});
}

/// Equal in every bit.
void expect_same(const c10::IValue& a, const c10::IValue& b) {
  REQUIRE(same_structure(a, b).has_value());
  auto left = leaves_of(a), right = leaves_of(b);
  for (std::size_t i = 0; i < left.size(); ++i) {
    NOTE(left[i].path);
    if (!left[i].value.isTensor()) {
      EXPECT(equal_leaves(left[i].value, right[i].value));
      continue;
    }
    const auto &x = left[i].value.toTensor(), &y = right[i].value.toTensor();
    EXPECT((x.scalar_type() == y.scalar_type()));
    EXPECT(x.sizes() == y.sizes());
    if (x.numel() > 0) EXPECT(std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0);
  }
}

infer_request some_request() {
  return {77, {"resnet", "abc123"}, {some_value()}, "tenant", 200, "trace-1", 1'500};
}
request_timing some_timing() {
  return {std::chrono::hours(99), std::chrono::nanoseconds(3), std::chrono::nanoseconds(4), 5, 6, 7, {8, 0, 9}};
}
infer_response some_response() {
  return {77, {some_value()}, some_failure(), "trace-1", 123'456'789'012, some_timing()};
}
status some_status() {
  status s;
  s.cores = {{0, true, true, 3, 1'000, 4'000, 17, 99, 98, 1'024, 2}, {1, false, false, 0, 0, 0, 0, -1, 0, 0, 0}};
  s.models.resize(2);
  s.models[1] = {3, "abc", {0, 1}, 4, 5, 6, 7, 8, {9, 10}, {}, {}, {}};
  s.models[1].compute.add(std::chrono::milliseconds(3));
  s.models[1].total.add(std::chrono::hours(200));
  s.queued_rows = 5;
  s.queued_bytes = 1ull << 40;
  s.unanswered = 6;
  s.executions_in_flight = 7;
  s.abandoned_lanes = 8;
  s.abandoned_bytes = 9;
  return s;
}

}  // namespace

TEST_CASE("a value crosses the wire with every bit, not a number and infinite ones too") {
  expect_same(round_trip(value_message{some_value()}).value, some_value());
  EXPECT(round_trip(value_message{}).value.isNone());
}

TEST_CASE("a large tensor crosses the wire") {
  auto x = at::arange(1'000'000, at::kFloat);
  EXPECT(at::equal(round_trip(value_message{x}).value.toTensor(), x));
}

TEST_CASE("a failure crosses the wire whole, with every code") {
  EXPECT(round_trip(some_failure()) == some_failure());
  for (std::size_t code = 0; code < errc_count; ++code) {
    failure f{static_cast<errc>(code), "x", -1, -1, -1};
    EXPECT(round_trip(f) == f);
  }
}

TEST_CASE("an infer_request crosses the wire whole") {
  auto m = round_trip(some_request());
  EXPECT(m.id == 77);
  EXPECT(m.model.name == "resnet");
  EXPECT(m.model.content_hash == "abc123");
  expect_same(m.inputs.value, some_value());
  EXPECT(m.tenant == "tenant");
  EXPECT(m.priority == 200);
  EXPECT(m.trace_id == "trace-1");
  EXPECT(m.remaining_ms == 1'500);
}

TEST_CASE("an infer_response crosses the wire whole") {
  auto m = round_trip(some_response());
  EXPECT(m.id == 77);
  expect_same(m.outputs.value, some_value());
  EXPECT(m.error == some_failure());
  EXPECT(m.trace_id == "trace-1");
  EXPECT(m.total_ns == 123'456'789'012);
  EXPECT(m.timing.queued == std::chrono::hours(99));
  EXPECT(m.timing.compute.count() == 3);
  EXPECT(m.timing.gather.count() == 4);
  EXPECT(m.timing.executions == 5);
  EXPECT(m.timing.batched_rows == 6);
  EXPECT(m.timing.padded_rows == 7);
  EXPECT(m.timing.cores == std::vector<std::size_t>{8, 0, 9});
  EXPECT_FALSE(m.ok());
}

TEST_CASE("a status crosses the wire whole") {
  auto s = round_trip(some_status());
  REQUIRE(s.cores.size() == 2);
  const auto& c = s.cores[0];
  EXPECT(std::tie(c.index, c.up, c.lost, c.restarts, c.executions, c.rows, c.padding_rows, c.busy_ns, c.up_ns,
                  c.model_bytes,
                  c.models) == std::make_tuple(0u, true, true, 3u, 1'000u, 4'000u, 17u, 99, 98, 1'024u, 2u));
  EXPECT_FALSE(s.cores[1].up);
  EXPECT(s.cores[1].busy_ns == -1);
  REQUIRE(s.models.size() == 2);
  const auto& m = s.models[1];
  EXPECT(std::tie(m.id, m.content_hash, m.cores, m.queued_rows, m.queued_bytes, m.unanswered, m.executions_in_flight,
                  m.rows, m.outcomes) == std::make_tuple(3u, "abc", std::vector<std::uint64_t>{0, 1}, 4u, 5u, 6u, 7u,
                                                         8u, std::vector<std::uint64_t>{9, 10}));
  EXPECT(m.queued == histogram{});
  EXPECT(m.compute == some_status().models[1].compute);
  EXPECT(m.total == some_status().models[1].total);
  EXPECT(s.queued_rows == 5);
  EXPECT(s.queued_bytes == 1ull << 40);
  EXPECT(s.unanswered == 6);
  EXPECT(s.executions_in_flight == 7);
  EXPECT(s.abandoned_lanes == 8);
  EXPECT(s.abandoned_bytes == 9);
}

TEST_CASE("the small messages cross the wire whole") {
  EXPECT(round_trip(cancel{9}).id == 9);
  EXPECT(round_trip(drain{-5}).bound_ms == -5);
  EXPECT(round_trip(drained{3}).unanswered == 3);
  EXPECT(round_trip(model_reference{"a", "b"}).content_hash == "b");
  round_trip(status_query{});
}

TEST_CASE("whatever bytes a stranger sends, reading them ends and throws nothing") {
  survive_hostile_bytes(value_message{some_value()}, 1);
  survive_hostile_bytes(some_request(), 2);
  survive_hostile_bytes(some_response(), 3);
  survive_hostile_bytes(some_status(), 4);
  survive_hostile_bytes(some_failure(), 5);
}

TEST_CASE("a value whose length is a lie takes no memory for it") {
  for (std::uint64_t claimed : {std::uint64_t{1} << 40, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
    bytes all;
    caf::binary_serializer sink{nullptr, all};
    auto size = static_cast<std::size_t>(claimed);
    REQUIRE_FALSE(sink.begin_sequence(size));
    all.resize(all.size() + 100);
    value_message m;
    caf::error err;
    DOCTEST_REQUIRE_NOTHROW(err = read(all, m));
    EXPECT(err);
  }
}

TEST_CASE("a value that has no place on the wire is an error of the writer") {
  value_message m{c10::make_intrusive<c10::ivalue::Future>(c10::IntType::get())};
  bytes all;
  caf::binary_serializer sink{nullptr, all};
  EXPECT(sink(m));
}

TEST_CASE("a message tells people what is in it without its tensors") {
  auto text = caf::deep_to_string(some_request());
  EXPECT(contains(text, "infer_request"));
  EXPECT(contains(text, "tuple of 9"));
}

// -- local only -------------------------------------------------------------------------------------------------------

namespace {

template <class T>
concept has_wire_form = requires(caf::binary_serializer& sink, T& x) { inspect(sink, x); };

template <class... Ts>
constexpr bool local_only = ((caf::allowed_unsafe_message_type<Ts>::value && !has_wire_form<Ts>) && ...);
template <class... Ts>
constexpr bool may_leave = ((!caf::allowed_unsafe_message_type<Ts>::value && has_wire_form<Ts>) && ...);

}  // namespace

TEST_CASE("messages that hold pointers are local only, and the others are not") {
  static_assert(local_only<submission, configure, answered, batcher_tick, add_deployment, model_on_core,
                           deployment_failed, remove_deployment, limit_workers, enqueue, withdraw, core_down,
                           executions_done, load_model, unload_model, start_execution, lane_loaded, lane_finished,
                           lane_lost, look_at_lane, end_core, model_loaded, deployment_removed, restart_core>);
  static_assert(local_only<core_up, deploy, deployed, status_for, drain_ended>);
  static_assert(may_leave<value_message, failure, model_reference, infer_request, infer_response, cancel, status_query,
                          core_status, model_status, status, drain, drained>);
  // CAF writes nothing of the first: not a pointer of ours reaches a stranger.
  caf::actor_system_config config;
  config.add_message_types<caf::id_block::ganglion>();
  caf::actor_system system{config};
  bytes all;
  caf::binary_serializer sink{system, all};
  auto m = caf::make_message(enqueue{});
  sink(m);
  EXPECT(all.empty());
  auto fine = caf::make_message(cancel{1});
  EXPECT_FALSE(sink(fine));
  EXPECT_FALSE(all.empty());
}

TEST_CASE("the names on the wire are the ones that are promised") {
  caf::actor_system_config config;
  config.add_message_types<caf::id_block::ganglion>();
  caf::actor_system system{config};
  for (auto* name :
       {"ganglion::value_message", "ganglion::failure", "ganglion::model_reference", "ganglion::infer_request",
        "ganglion::infer_response", "ganglion::cancel", "ganglion::status_query", "ganglion::core_status",
        "ganglion::status", "ganglion::drain", "ganglion::drained"}) {
    NOTE(name);
    EXPECT(system.types().make_value(name) != nullptr);
  }
}

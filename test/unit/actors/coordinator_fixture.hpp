#pragma once

#include <support/deterministic_system.hpp>
#include <support/errors.hpp>
#include <support/probe.hpp>
#include <support/requests.hpp>

#include <ganglion/actors/coordinator/coordinator.hpp>

#include <ATen/ATen.h>

#include <algorithm>

namespace ganglion::test {

/// A coordinator between a client and the doubles of batcher and supervisor.
struct coordinator_fixture {
  deterministic_system system;
  probe parent{system}, batcher{system}, supervisor{system}, client{system};
  std::shared_ptr<admission> gate = std::make_shared<admission>();
  std::shared_ptr<warning_log> warnings = std::make_shared<warning_log>();
  std::shared_ptr<const deployment> target = deployment_of(plus_one_model(4), 5, {0, 1});
  coordinator_actor subject;

  explicit coordinator_fixture(bool dynamic_batching = true)
      : subject(spawn_coordinator(parent.parent(), {target, gate, warnings, batcher.as<batcher_actor>(),
                                                    supervisor.as<supervisor_actor>(), dynamic_batching, {}, {}})) {}
  ~coordinator_fixture() {
    if (subject) system.end(subject);
  }

  /// A message for the inference of `rows` numbered rows.
  static infer_request message(std::uint64_t id, std::int64_t rows = 4, std::int64_t remaining_ms = 0) {
    infer_request m;
    m.id = id;
    m.inputs.value = c10::ivalue::Tuple::create({c10::IValue{numbered_rows(rows)}});
    m.trace_id = "trace-" + std::to_string(id);
    m.remaining_ms = remaining_ms;
    return m;
  }
  /// Sends it and takes it out of the batcher's hands.
  request_ptr accepted(infer_request m) {
    client.send(subject, std::move(m));
    return batcher.expect<enqueue>().value;
  }
  void expect_failed(std::uint64_t id, errc code) { expect_failed(client, id, code); }
  void expect_failed(probe& who, std::uint64_t id, errc code) {
    auto m = who.expect<infer_response>();
    NOTE(m.error.text);
    EXPECT(m.id == id);
    EXPECT(to_string(m.error.code) == to_string(code));
    EXPECT(m.outputs.value.isNone());
  }
  void expect_answered(std::uint64_t id, std::int64_t rows = 4) {
    auto m = client.expect<infer_response>();
    EXPECT(m.id == id);
    REQUIRE(m.ok());
    EXPECT(m.trace_id == "trace-" + std::to_string(id));
    EXPECT(m.total_ns >= 0);
    EXPECT(at::equal(m.outputs.value.toTensor(), numbered_rows(rows) + 1));
  }
};

/// Runs the chunks of a request in that order, by default as they come.
inline void run(const request_ptr& r, bool backwards = false) {
  std::vector<slot*> slots;
  for (std::size_t i = 0; i < r->chunks().size(); ++i) {
    auto chunk = r->chunks().at(i);
    slots.push_back(&r->add_slot(chunk.first_row, chunk.rows, i));
    r->leave_queue(chunk.rows);
  }
  if (backwards) std::reverse(slots.begin(), slots.end());
  for (auto* s : slots) {
    s->start(0);
    auto rows = r->leaves()[0].toTensor().narrow(0, s->first_row(), s->rows()) + 1;
    r->answer().commit(*s, 0, rows, 0, s->rows(), 1, {r->accepted(), r->accepted(), s->rows()});
  }
}

}  // namespace ganglion::test

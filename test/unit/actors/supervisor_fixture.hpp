#pragma once

#include <support/deterministic_system.hpp>
#include <support/errors.hpp>
#include <support/probe.hpp>
#include <support/puppet_lane.hpp>
#include <support/requests.hpp>

#include <ganglion/actors/supervisor/supervisor.hpp>

namespace ganglion::test {

inline const failure no_warm_up{errc::forward_failed, "the warm-up failed", -1, -1, 0};

/// A whole engine on puppet lanes, and one client.
struct supervisor_fixture {
  puppet_lanes lanes;
  deterministic_system system;
  probe client{system};
  std::shared_ptr<admission> gate = std::make_shared<admission>();
  std::vector<std::string> said, news;
  supervisor_actor subject;

  /// Two cores of one execution each, unless changed.
  explicit supervisor_fixture(const std::function<void(supervisor_config&)>& change = {}) {
    auto config = puppet_cores(lanes, 2);
    config.gate = gate;
    config.log = [this](std::string_view sentence) { said.emplace_back(sentence); };
    config.news = [this](std::string_view sentence) { news.emplace_back(sentence); };
    if (change) change(config);
    subject = spawn_supervisor(system.system(), std::move(config));
    system.run();
  }
  ~supervisor_fixture() {
    if (subject) system.end(subject);
  }

  static supervisor_config puppet_cores(puppet_lanes& lanes, std::size_t count) {
    auto config = cpu_cores(count);
    config.make_lane = lanes.factory();
    config.batcher.credits = {1, 0, 1};
    return config;
  }

  static deploy wish(const compiled_model& model = plus_one_model(4), std::vector<std::size_t> cores = {}) {
    return {model, std::move(cores)};
  }
  /// Deploys and wants it to succeed.
  deployed deploy_model(deploy m = wish()) {
    client.ask<deployed>(subject, std::move(m));
    auto d = client.expect<deployed>();
    NOTE(d.error.text);
    REQUIRE(d.ok());
    return d;
  }
  /// Deploys and wants it to fail. Returns why.
  failure refused(deploy m) {
    client.ask<deployed>(subject, std::move(m));
    auto d = client.expect<deployed>();
    EXPECT_FALSE(d.ok());
    EXPECT_FALSE(d.coordinator);
    return d.error;
  }
  void infer(const coordinator_actor& to, std::uint64_t id, std::int64_t rows = 4) {
    infer_request m;
    m.id = id;
    m.inputs.value = c10::ivalue::Tuple::create({c10::IValue{numbered_rows(rows)}});
    client.send(to, std::move(m));
  }
  void finish(std::size_t core) {
    lanes.finish(core);
    system.run();
  }
  void die(std::size_t core) {
    lanes.die(core);
    system.run();
  }
  void expect_answered(std::uint64_t id, std::int64_t rows = 4) {
    auto m = client.expect<infer_response>();
    NOTE(m.error.text);
    EXPECT(m.id == id);
    REQUIRE(m.ok());
    EXPECT(at::equal(m.outputs.value.toTensor(), numbered_rows(rows) + 1));
  }
  void expect_failed(std::uint64_t id, errc code) {
    auto m = client.expect<infer_response>();
    NOTE(m.error.text);
    EXPECT(m.id == id);
    EXPECT(to_string(m.error.code) == to_string(code));
  }
  status ask_status() {
    client.ask<status>(subject, status_query{});
    return client.expect<status>();
  }
};

}  // namespace ganglion::test

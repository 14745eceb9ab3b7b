#pragma once

#include <support/doctest.hpp>

#include <ganglion/actors/core/lane.hpp>

#include <ATen/ATen.h>

#include <deque>
#include <map>
#include <memory>

namespace ganglion::test {

/// Lanes without threads, which do what the test tells them: answer, fail, die or stay silent. Everything runs on the
/// thread of the test, inside the call.
class puppet_lanes {
 public:
  /// What a program makes of the leaves of an execution's inputs.
  using program = std::function<c10::IValue(const std::vector<c10::IValue>& leaves)>;

  struct puppet {
    std::shared_ptr<lane_sink> sink;  ///< of the lane that lives now, or lived last
    bool alive = false;
    std::size_t born = 0;
    std::optional<lane_activity> activity;  ///< what it says that it is in the middle of
    std::deque<execution_ptr> started;
    std::deque<std::uint64_t> loading;  ///< models of which the load is not answered
    std::vector<std::uint64_t> loaded;
    std::vector<std::uint64_t> unloaded;
  };

  /// Whether loads are answered at once; else by `load` and `fail_load`.
  bool loads_at_once = true;
  /// What each execution returns; x + 1 for a single tensor unless set.
  program run = [](const std::vector<c10::IValue>& leaves) -> c10::IValue { return leaves.front().toTensor() + 1; };

  /// Keeps the puppets alive: give it to `core_config` or `supervisor_config`.
  lane_factory factory() {
    return [this](const lane_config& config, std::shared_ptr<lane_sink> sink) {
      auto& p = puppets_[config.core];
      p.sink = sink;
      p.alive = true;
      ++p.born;
      p.activity.reset();
      p.started.clear();
      p.loading.clear();
      return std::make_unique<strings>(*this, config.core, std::move(sink));
    };
  }

  puppet& of(std::size_t core) { return puppets_[core]; }
  std::size_t started(std::size_t core) { return of(core).started.size(); }

  /// Answers the oldest load.
  void load(std::size_t core, failure error = {}) {
    auto& p = of(core);
    REQUIRE_FALSE(p.loading.empty());
    auto id = p.loading.front();
    p.loading.pop_front();
    if (error.code == errc::ok) p.loaded.push_back(id);
    p.sink->loaded({id, std::move(error), 100, {{1e-3}, true}});
  }

  /// The execution of that place in the lane, moved to running: a lane that is in the middle of it.
  execution_ptr begin(std::size_t core, std::size_t place = 0) {
    REQUIRE(of(core).started.size() > place);
    auto work = of(core).started[place];
    for (const auto& p : work->parts) p.where->start(p.attempt);
    return work;
  }
  /// Ends an execution as `run_execution` would, after it computed for so long: commits the rows of those parts that
  /// were not taken back.
  execution_report complete(const execution_ptr& work, std::size_t core,
                            std::chrono::nanoseconds computed = std::chrono::milliseconds(1)) {
    execution_report report{work, {}, false, {}, clock::time_point{} + computed, clock::time_point{} + computed,
                            work->forwards};
    for (const auto& p : work->parts) p.where->start(p.attempt);
    auto outputs = run_all(*work);
    for (const auto& p : work->parts)
      report.ran |= p.owner->answer().commit(*p.where, p.attempt, outputs, p.offset, work->all_rows(),
                                             static_cast<std::int32_t>(core),
                                             {report.started, report.computed, work->rows(), work->forwards});
    return report;
  }
  /// Runs the execution of that place in the lane and reports it.
  void finish(std::size_t core, std::size_t place = 0) {
    auto work = take(core, place);
    of(core).sink->finished({complete(work, core)});
  }
  /// Reports the oldest execution as failed.
  void fail(std::size_t core, std::string text = "the puppet failed") {
    begin(core);
    auto work = take(core, 0);
    const auto& where = *work->parts.front().where;
    failure f{errc::forward_failed, std::move(text), where.first_row(), where.first_row() + where.rows(),
              static_cast<std::int32_t>(core)};
    of(core).sink->finished({{work, std::move(f), true, {}, {}, {}}});
  }
  /// Tells that the lane can run nothing any more.
  void die(std::size_t core, std::string reason = "the puppet died") { of(core).sink->lost(std::move(reason)); }

  execution_ptr take(std::size_t core, std::size_t place) {
    auto& all = of(core).started;
    REQUIRE(all.size() > place);
    auto work = all[place];
    all.erase(all.begin() + static_cast<std::ptrdiff_t>(place));
    return work;
  }

 private:
  /// What all forwards of an execution return.
  c10::IValue run_all(const execution& work) const {
    staging buffers;
    auto leaves = buffers.assemble(work);
    if (work.forwards == 1) return run(leaves);
    std::vector<at::Tensor> rows;
    for (std::int64_t forward = 0; forward < work.forwards; ++forward) {
      if (forward > 0) buffers.advance(leaves, work, forward);
      rows.push_back(run(leaves).toTensor());
    }
    return at::cat(rows);
  }

  class strings final : public lane {
   public:
    strings(puppet_lanes& all, std::size_t core, std::shared_ptr<lane_sink> sink)
        : all_(all), core_(core), sink_(std::move(sink)) {}
    ~strings() override { all_.of(core_).alive = false; }
    std::size_t depth() const noexcept override { return all_.of(core_).started.size(); }
    std::optional<lane_activity> activity() const noexcept override { return all_.of(core_).activity; }
    void load(compiled_model model) noexcept override {
      all_.of(core_).loading.push_back(model.id());
      if (all_.loads_at_once) all_.load(core_);
    }
    void unload(std::uint64_t model_id) noexcept override { all_.of(core_).unloaded.push_back(model_id); }
    void start(execution_ptr work) noexcept override { all_.of(core_).started.push_back(std::move(work)); }

   private:
    puppet_lanes& all_;
    std::size_t core_;
    std::shared_ptr<lane_sink> sink_;
  };

  std::map<std::size_t, puppet> puppets_;
};

}  // namespace ganglion::test

#pragma once

#include <ganglion/actors/core/cpu_lane.hpp>
#include <ganglion/actors/core/lane.hpp>

#include <map>
#include <mutex>
#include <utility>

namespace ganglion::test {

/// What became of the lanes of an engine, and what is to become of them: `factory()` goes into
/// `engine_options::make_lane`. A decorated lane is a real CPU lane until its judge says otherwise. Any thread.
class lane_faults {
 public:
  enum class fate {
    run,   ///< it runs
    die,   ///< the lane is lost with all that it holds
    hang,  ///< it never ends, and neither does what comes after it
  };
  /// An execution that a lane is given: `nth` counts those of its core from 1, over all lives.
  struct given {
    std::size_t core = 0;
    std::size_t nth = 0;
    const execution* work = nullptr;
  };
  using judge = std::function<fate(const given&)>;

  /// Rows of a request that went to a core, in the order of their coming.
  struct started_rows {
    std::size_t core;
    std::size_t chunk;
    std::int64_t first_row;
    std::int64_t rows;
  };

  explicit lane_faults(judge decide = {}) : state_(std::make_shared<state>()) { state_->decide = std::move(decide); }

  lane_factory factory() const {
    return [state = state_](const lane_config& config, std::shared_ptr<lane_sink> sink) {
      return std::make_unique<faulty_lane>(config, std::move(sink), state);
    };
  }

  /// A core's lane, as it is now, says that it is lost; what it runs goes on by itself.
  void kill(std::size_t core) {
    std::shared_ptr<lane_sink> sink;
    {
      std::lock_guard lock(state_->mutex);
      sink = state_->sinks.at(core);
    }
    sink->lost("the test killed it");
  }

  /// Calls a function on the engine's thread when a lane is given its next execution.
  void at_next_start(std::function<void()> call) {
    std::lock_guard lock(state_->mutex);
    state_->at_next_start = std::move(call);
  }

  /// Lets lanes die when they are asked to load a model.
  void die_loading(bool on) {
    std::lock_guard lock(state_->mutex);
    state_->die_loading = on;
  }

  std::vector<started_rows> started() const {
    std::lock_guard lock(state_->mutex);
    return state_->started;
  }

 private:
  struct state {
    std::mutex mutex;
    judge decide;
    std::map<std::size_t, std::shared_ptr<lane_sink>> sinks;
    std::map<std::size_t, std::size_t> given_to;
    std::vector<started_rows> started;
    std::function<void()> at_next_start;
    bool die_loading = false;
  };

  class faulty_lane final : public lane {
   public:
    faulty_lane(const lane_config& config, std::shared_ptr<lane_sink> sink, std::shared_ptr<state> shared)
        : core_(config.core), sink_(sink), inner_(make_cpu_lane(config, sink)), shared_(std::move(shared)) {
      std::lock_guard lock(shared_->mutex);
      shared_->sinks[core_] = std::move(sink);
    }

    std::size_t depth() const noexcept override { return inner_->depth() + hung_.size(); }
    std::optional<lane_activity> activity() const noexcept override {
      return hung_.empty() ? inner_->activity() : lane_activity{hung_since_};
    }

    void load(compiled_model model) noexcept override {
      bool die;
      {
        std::lock_guard lock(shared_->mutex);
        die = shared_->die_loading;
      }
      if (die)
        sink_->lost("the test killed it while it loaded");
      else
        inner_->load(std::move(model));
    }

    void unload(std::uint64_t model_id) noexcept override { inner_->unload(model_id); }

    void start(execution_ptr work) noexcept override {
      auto result = fate::run;
      std::function<void()> call;
      {
        std::lock_guard lock(shared_->mutex);
        for (const auto& p : work->parts)
          shared_->started.push_back({core_, p.where->chunk(), p.where->first_row(), p.where->rows()});
        auto nth = ++shared_->given_to[core_];
        if (shared_->decide) result = shared_->decide({core_, nth, work.get()});
        call = std::exchange(shared_->at_next_start, {});
      }
      if (call) call();
      if (result != fate::run && hung_.empty()) {
        for (const auto& p : work->parts) p.where->start(p.attempt);
        hung_since_ = clock::now();
      }
      if (result == fate::die) sink_->lost("the test let it die");
      if (result == fate::hang || !hung_.empty())
        hung_.push_back(std::move(work));
      else if (result == fate::run)
        inner_->start(std::move(work));
    }

   private:
    std::size_t core_;
    std::shared_ptr<lane_sink> sink_;
    std::unique_ptr<lane> inner_;
    std::shared_ptr<state> shared_;
    std::vector<execution_ptr> hung_;
    clock::time_point hung_since_;
  };

  std::shared_ptr<state> state_;
};

}  // namespace ganglion::test

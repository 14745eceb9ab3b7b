// What a chunk costs beside its forward, on 1 to 64 cores: the plan of its request, the formation of its execution with
// the core's credit, and its gather. The lanes are puppets that hold what they are given until it is their turn and
// then commit rows that are there already, so no core has a thread and everything is done by this one: what is told is
// work, and not waiting. A cost that does not depend on the number of cores has the ratio 1.
//
// `pure` figures are of the plain classes that decide; `engine` figures of a whole engine, actors and messages
// included, whose lanes answer inside of the call.
#include "measure.hpp"

#include <bench_statistics.hpp>

#include <ganglion/actors/batcher/formation.hpp>
#include <ganglion/actors/core/lane.hpp>
#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <deque>
#include <numeric>

namespace {

using namespace ganglion;
using namespace ganglion::benchmark;
using clock = std::chrono::steady_clock;

constexpr std::int64_t batch = 16;
/// What an execution is said to take: long enough that a core takes two, and no more.
constexpr auto execution_time = std::chrono::milliseconds(1);

/// Runs an execution as a lane would, with outputs that are there already.
execution_report complete(const execution_ptr& work, const at::Tensor& outputs, std::size_t core) {
  execution_report report{work, {}, true, clock::now(), {}, {}};
  report.computed = report.ended = report.started + execution_time;
  for (const auto& p : work->parts) p.where->start(p.attempt);
  for (const auto& p : work->parts)
    p.owner->answer().commit(*p.where, p.attempt, outputs, p.offset, work->batch, static_cast<std::int32_t>(core),
                             {report.started, report.computed, work->rows()});
  return report;
}

/// Requests of one kind, one after the other.
struct traffic {
  const char* name;
  std::int64_t rows;      ///< a request
  std::size_t waiting;    ///< requests that wait or run at any time
  bool deadlines = false;
};

constexpr traffic kinds[] = {
    {"large", 256 * batch, 8},        // of 256 chunks, several at a time
    {"alone", 256 * batch, 1},        // of 256 chunks, each finds the engine idle and is shared out evenly
    {"single", batch, 1024},          // of one chunk
    {"deadline", batch, 1024, true},  // of one chunk, for which the wait is predicted
};

/// Seconds a chunk.
struct costs {
  double plan = 0, formation = 0, gather = 0;
  double all() const { return plan + formation + gather; }
};

/// The classes that decide, and cores that are nothing but what they hold.
class pure_engine {
 public:
  pure_engine(const compiled_model& model, std::size_t cores, const traffic& kind)
      : kind_(kind), inputs_(at::rand({kind.rows, 16})), outputs_(at::rand({batch, 16})) {
    std::vector<std::size_t> all(cores);
    std::iota(all.begin(), all.end(), 0);
    target_ = std::make_shared<const deployment>(
        deployment{1, model, make_program_set(model, 0).value(), std::move(all), {}});
    queue_.add(target_, {});
    queue_.expect_seconds(1, 0, std::chrono::duration<double>(execution_time).count());
    for (std::size_t core = 0; core < cores; ++core) queue_.core_up(core);
  }
  ~pure_engine() { queue_.fail_all({errc::draining, "the measurement is over"}); }

  costs run(double seconds) {
    spent_ = {};
    chunks_ = 0;
    for (const auto end = clock::now() + std::chrono::duration<double>(seconds); clock::now() < end;)
      for (int i = 0; i < 1000; ++i) turn();
    const auto chunks = static_cast<double>(chunks_);
    return {spent_.plan / chunks, spent_.formation / chunks, spent_.gather / chunks};
  }

 private:
  template <class Work>
  static void timed(double& into, const Work& work) {
    const auto begin = clock::now();
    work();
    into += seconds_between(begin, clock::now());
  }

  /// New requests if there is room, and then the oldest execution ends.
  void turn() {
    while (unanswered_ < kind_.waiting) timed(spent_.plan, [this] { send(); });
    timed(spent_.formation, [this] { pump(); });
    auto oldest = std::move(held_.front());
    held_.pop_front();
    execution_report report;
    timed(spent_.gather, [&] { report = complete(oldest.work, outputs_, oldest.core); });
    oldest.work.reset();
    timed(spent_.formation, [&] { queue_.finished(oldest.core, report, clock::now()); });
    ++chunks_;
  }
  void send() {
    ++unanswered_;
    request_options options;
    if (kind_.deadlines) options.deadline = clock::now() + std::chrono::hours(1);
    auto r = request::admit(request::next_id(), target_, {{inputs_}, kind_.rows}, gate_,
                            [this](response&&) { --unanswered_; }, std::move(options))
                 .value();
    r->plan(true, {});
    queue_.enqueue(std::move(r), clock::now());
  }
  void pump() {
    const auto now = clock::now();
    queue_.advance(now);
    while (auto next = queue_.next(now)) held_.push_back(std::move(*next));
  }

  const traffic& kind_;
  at::Tensor inputs_, outputs_;
  std::shared_ptr<admission> gate_ = std::make_shared<admission>(
      admission_limits{std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::max()});
  std::shared_ptr<const deployment> target_;
  formation queue_;
  std::deque<assignment> held_;
  std::size_t unanswered_ = 0;
  costs spent_;
  std::int64_t chunks_ = 0;
};

/// Ends each execution inside of `start`.
class instant_lane final : public lane {
 public:
  instant_lane(std::size_t core, std::shared_ptr<lane_sink> sink) : core_(core), sink_(std::move(sink)) {}

  std::size_t depth() const noexcept override { return 0; }
  std::optional<lane_activity> activity() const noexcept override { return {}; }
  void load(compiled_model model) noexcept override {
    sink_->loaded({model.id(), {}, 0, {{std::chrono::duration<double>(execution_time).count()}, true}});
  }
  void unload(std::uint64_t) noexcept override {}
  void start(execution_ptr work) noexcept override {
    sink_->finished({complete(work, outputs_, core_)});
  }

 private:
  std::size_t core_;
  std::shared_ptr<lane_sink> sink_;
  at::Tensor outputs_ = at::rand({batch, 16});
};

/// A whole engine.
class puppet_engine {
 public:
  puppet_engine(const compiled_model& model, std::size_t cores) : host_(options(cores)), parallel_(host_, model) {}

  /// Seconds a chunk, of large requests.
  double run(double seconds) {
    std::deque<std::future<c10::IValue>> out;
    std::int64_t rows = 0;
    const auto begin = clock::now();
    const auto end = begin + std::chrono::duration<double>(seconds);
    while (clock::now() < end) {
      while (out.size() < 8) out.push_back(parallel_.submit({inputs_}));
      out.front().get();
      out.pop_front();
      rows += inputs_.size(0);
    }
    const auto taken = seconds_between(begin, clock::now());
    for (auto& future : out) future.get();
    return taken / static_cast<double>(rows / batch);
  }

 private:
  static engine_options options(std::size_t cores) {
    engine_options result;
    result.host_cores = cores;
    result.pin = false;
    result.max_queued_rows = std::numeric_limits<std::int64_t>::max();
    result.make_lane = [](const lane_config& config, std::shared_ptr<lane_sink> sink) {
      return std::make_unique<instant_lane>(config.core, std::move(sink));
    };
    return result;
  }

  at::Tensor inputs_ = at::rand({256 * batch, 16});
  engine host_;
  data_parallel parallel_;
};

constexpr std::size_t core_counts[] = {1, 2, 4, 8, 16, 32, 64};

/// The measured costs on each number of cores, in turn, and of the last one the median over the rounds of the ratio to
/// one core.
template <class Engines, class Run>
void compare(report& out, const std::string& name, Engines& engines, int rounds, const Run& run) {
  std::vector<std::vector<double>> measured(std::size(core_counts)), ratios(std::size(core_counts));
  for (int round = 0; round < rounds; ++round)
    for (std::size_t i = 0; i < std::size(core_counts); ++i) {
      measured[i].push_back(run(*engines[i]));
      ratios[i].push_back(measured[i].back() / measured[0].back());
    }
  double largest = 0;
  for (std::size_t i = 0; i < std::size(core_counts); ++i) {
    out.add(fmt::format("{}_ns_on_{}", name, core_counts[i]), 1e9 * command::median(measured[i]));
    largest = std::max(largest, command::median(ratios[i]));
  }
  out.at_most(name + "_largest_ratio_to_1", largest, 1.2);
}

void run_all(const arguments& given, report& out) {
  const int rounds = given.small ? 1 : 7;
  trace_options quickly;
  quickly.tune = false;
  const auto model = trace(layers({16, 16}), {at::rand({batch, 16})}, quickly);
  for (const auto& kind : kinds) {
    std::vector<std::unique_ptr<pure_engine>> engines;
    for (auto cores : core_counts) engines.push_back(std::make_unique<pure_engine>(model, cores, kind));
    for (auto& e : engines) e->run(given.seconds / 10);
    costs last;
    compare(out, fmt::format("pure_{}", kind.name), engines, rounds, [&](pure_engine& e) {
      last = e.run(given.seconds);
      return last.all();
    });
    out.add(fmt::format("pure_{}_plan_ns_on_64", kind.name), 1e9 * last.plan);
    out.add(fmt::format("pure_{}_formation_ns_on_64", kind.name), 1e9 * last.formation);
    out.add(fmt::format("pure_{}_gather_ns_on_64", kind.name), 1e9 * last.gather);
  }
  std::vector<std::unique_ptr<puppet_engine>> engines;
  for (auto cores : core_counts) engines.push_back(std::make_unique<puppet_engine>(model, cores));
  for (auto& e : engines) e->run(given.seconds / 10);
  compare(out, "engine_large", engines, rounds, [&](puppet_engine& e) { return e.run(given.seconds); });
}

}  // namespace

int main(int argc, char** argv) { return run("planning_cost", argc, argv, 0.2, run_all); }

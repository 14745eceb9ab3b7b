#include "trace_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ganglion {

namespace {

using time_point = execution_record::time_point;

/// The thread of the timeline on which requests arrive; the cores come after it.
constexpr std::size_t arrivals = 0;

std::size_t thread_of(std::size_t core) { return core + 1; }

std::string thread_name(std::size_t thread, std::string_view name) {
  return fmt::format(R"({{"ph":"M","pid":1,"tid":{0},"name":"thread_name","args":{{"name":"{1}"}}}},
{{"ph":"M","pid":1,"tid":{0},"name":"thread_sort_index","args":{{"sort_index":{0}}}}},
)",
                     thread, name);
}

/// Microseconds, as the format has them.
double us(time_point t, time_point zero) { return std::chrono::duration<double, std::micro>(t - zero).count(); }

constexpr const char* execution_event =
    R"({{"ph":"X","pid":1,"tid":{},"ts":{:.3f},"dur":{:.3f},"name":"{} row{}{}","cat":"execution","args":{{)"
    R"("execution":{},"model":{},"rows":{},"padding_rows":{},"forwards":{},"requests":{},"waited_us":{:.3f},)"
    R"("failed":{},"lost":{}}}}},
)";

std::string whole_execution(const execution_record& r, time_point zero, bool lost) {
  const auto started = us(r.started, zero), gathered = us(r.gathered, zero);
  return fmt::format(execution_event, thread_of(r.core), started, gathered - started, r.rows, r.rows == 1 ? "" : "s",
                     lost ? ", lost" : "", r.execution_id, r.data_parallel_id, r.rows, r.padding_rows, r.forwards,
                     r.parts.size(), us(r.started, r.enqueued), r.failed, lost);
}

/// A step of a request's flow: it begins ("s") where the request came, passes through executions ("t") and ends ("f")
/// where it was answered.
std::string flow(const char* phase, std::size_t thread, double at, std::uint64_t request) {
  return fmt::format(
      R"({{"ph":"{}","pid":1,"tid":{},"ts":{:.3f},"id":{},"name":"request","cat":"request","bp":"e"}},
)",
      phase, thread, at, request);
}

std::string flows(const execution_record& r, time_point zero) {
  std::string out;
  for (const auto& p : r.parts) out += flow("t", thread_of(r.core), us(r.started, zero), p.request_id);
  return out;
}

std::string waiting(double at, std::string_view whose, std::int64_t rows) {
  return fmt::format(R"({{"ph":"C","pid":1,"ts":{:.3f},"name":"rows that wait, {}","args":{{"rows":{}}}}},
)",
                     at, whose, rows);
}

/// The events of one execution, each followed by a comma and a newline. Times count from `zero`.
std::string trace_events(const execution_record& r, time_point zero) {
  const auto lane = thread_of(r.core);
  const auto started = us(r.started, zero), computed = us(r.computed, zero), gathered = us(r.gathered, zero);
  auto out = whole_execution(r, zero, false);
  auto stage = [&](const char* name, double from, double to) {
    out += fmt::format(R"({{"ph":"X","pid":1,"tid":{},"ts":{:.3f},"dur":{:.3f},"name":"{}","cat":"stage"}},
)",
                       lane, from, to - from, name);
  };
  stage("compute", started, computed);
  stage("gather", computed, gathered);
  out += flows(r, zero);
  // As many waited before it was formed as it took and left.
  const auto whose = fmt::format("model {}", r.data_parallel_id);
  const auto formed = us(r.formed, zero);
  return out + waiting(formed, whose, r.queued_rows + r.rows) + waiting(formed + 0.001, whose, r.queued_rows);
}

/// The events of one request. What is inside of a slice is taken for its begin and end.
std::string trace_events(const request_record& r, time_point zero) {
  const auto accepted = us(r.accepted, zero), answered = us(r.answered, zero);
  auto slice = [&](double at, const char* name, const std::string& args) {
    return fmt::format(
        R"({{"ph":"X","pid":1,"tid":{},"ts":{:.3f},"dur":0.001,"name":"{} {}","cat":"{}","args":{{{}}}}},
)",
        arrivals, at, name, r.id, name, args);
  };
  auto out = slice(accepted, "request", fmt::format(R"("rows":{})", r.rows)) + flow("s", arrivals, accepted, r.id) +
             slice(answered, "answer",
                   fmt::format(R"("code":"{}","after_us":{:.3f})", to_string(r.code), answered - accepted)) +
             flow("f", arrivals, answered, r.id);
  // Rows that left without an execution, which would tell of them.
  if (r.code != errc::ok) out += waiting(answered, fmt::format("model {}", r.data_parallel_id), r.queued_rows);
  return out;
}

}  // namespace

expected<std::shared_ptr<trace_file>> trace_file::open(const std::filesystem::path& path, std::size_t cores,
                                                       std::function<void(std::string_view)> warn) {
  std::shared_ptr<trace_file> made{new trace_file(path, cores, std::move(warn))};
  if (!made->file_)
    return failure{errc::io_failed, fmt::format("the timeline '{}' cannot be written: {}", path.native(),
                                                std::strerror(errno))};
  made->thread_ = std::thread{[raw = made.get()] { raw->run(); }};
  return made;
}

trace_file::trace_file(const std::filesystem::path& path, std::size_t cores,
                       std::function<void(std::string_view)> warn)
    : path_(path), file_(path), warn_(std::move(warn)), zero_(std::chrono::steady_clock::now()),
      last_ended_(cores) {
  file_ << "[\n" << thread_name(arrivals, "requests");
  for (std::size_t i = 0; i < cores; ++i) file_ << thread_name(thread_of(i), fmt::format("nc:{}", i));
  file_.flush();
}

trace_file::~trace_file() { close(); }

void trace_file::add(execution_record record) {
  std::lock_guard lock(mutex_);
  if (!closed_) added_.emplace_back(std::move(record));
}

void trace_file::add_lost(execution_record record) {
  std::lock_guard lock(mutex_);
  if (!closed_) added_.emplace_back(lost{std::move(record)});
}

void trace_file::add(const request_record& record) {
  std::lock_guard lock(mutex_);
  if (!closed_) added_.emplace_back(record);
}

void trace_file::watch(std::weak_ptr<const admission> gate) {
  std::lock_guard lock(mutex_);
  gate_ = std::move(gate);
}

void trace_file::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void trace_file::run() {
  // The files of many short runs are small, and those of long ones are not kept in memory.
  constexpr auto interval = std::chrono::milliseconds(100);
  bool last = false;
  while (!last) {
    std::vector<event> events;
    {
      std::unique_lock lock(mutex_);
      last = changed_.wait_for(lock, interval, [this] { return closed_; });
      events.swap(added_);
    }
    write(events);
    sample();
  }
  if (!file_) return;
  // The last event ends the list without a comma.
  file_ << R"({"ph":"M","pid":1,"name":"process_name","args":{"name":"ganglion"}}
]
)";
  file_.flush();
}

std::string trace_file::lost_execution(execution_record r) {
  // It began when the one before it on its core had ended.
  r.started = std::max(r.formed, last_ended_[r.core]);
  return whole_execution(r, zero_, true) + flows(r, zero_);
}

/// What waits also while no execution is formed.
void trace_file::sample() {
  std::unique_lock lock(mutex_);
  auto gate = gate_.lock();
  lock.unlock();
  if (!gate || !file_ || gate->queued_rows() == last_sample_) return;
  last_sample_ = gate->queued_rows();
  file_ << waiting(us(std::chrono::steady_clock::now(), zero_), "all", last_sample_);
}

void trace_file::write(const std::vector<event>& events) {
  if (!file_) return;
  for (const auto& e : events) {
    if (const auto* ended = std::get_if<execution_record>(&e)) last_ended_[ended->core] = ended->gathered;
    if (const auto* lost_one = std::get_if<lost>(&e))
      file_ << lost_execution(lost_one->record);
    else if (const auto* r = std::get_if<request_record>(&e))
      file_ << trace_events(*r, zero_);
    else
      file_ << trace_events(std::get<execution_record>(e), zero_);
  }
  file_.flush();
  if (!file_)
    warn_(fmt::format("the timeline '{}' could not be written any more ({}): it ends here", path_.native(),
                      std::strerror(errno)));
}

}  // namespace ganglion

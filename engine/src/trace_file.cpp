#include "trace_file.hpp"

#include <fmt/format.h>

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

}  // namespace

std::string trace_events(const execution_record& r, time_point zero) {
  const auto lane = thread_of(r.core);
  const auto started = us(r.started, zero), computed = us(r.computed, zero), gathered = us(r.gathered, zero);
  auto out = fmt::format(
      R"({{"ph":"X","pid":1,"tid":{},"ts":{:.3f},"dur":{:.3f},"name":"{} row{}","cat":"execution","args":{{"execution":{},"model":{},"rows":{},"padding_rows":{},"requests":{},"waited_us":{:.3f},"failed":{}}}}},
)",
      lane, started, gathered - started, r.rows, r.rows == 1 ? "" : "s", r.execution_id, r.data_parallel_id, r.rows,
      r.padding_rows, r.parts.size(), us(r.started, r.enqueued), r.failed);
  auto stage = [&](const char* name, double from, double to) {
    out += fmt::format(R"({{"ph":"X","pid":1,"tid":{},"ts":{:.3f},"dur":{:.3f},"name":"{}","cat":"stage"}},
)",
                       lane, from, to - from, name);
  };
  stage("compute", started, computed);
  stage("gather", computed, gathered);
  for (const auto& p : r.parts) {
    auto flow = [&](const char* phase, std::size_t thread, double at) {
      out += fmt::format(
          R"({{"ph":"{}","pid":1,"tid":{},"ts":{:.3f},"id":{},"name":"request","cat":"request","bp":"e"}},
)",
          phase, thread, at, p.request_id);
    };
    if (p.first_row == 0 && p.attempt == 0) {
      const auto accepted = us(p.accepted, zero);
      out += fmt::format(
          R"({{"ph":"X","pid":1,"tid":{},"ts":{:.3f},"dur":0.001,"name":"request {}","cat":"request","args":{{"rows":{}}}}},
)",
          arrivals, accepted, p.request_id, p.request_rows);
      flow("s", arrivals, accepted);
    }
    flow(p.first_row + p.rows == p.request_rows ? "f" : "t", lane, started);
  }
  // As many waited before it was formed as it took and left.
  for (auto [at, rows] : {std::pair{us(r.formed, zero), r.queued_rows + r.rows},
                          std::pair{us(r.formed, zero) + 0.001, r.queued_rows}})
    out += fmt::format(R"({{"ph":"C","pid":1,"ts":{:.3f},"name":"rows that wait, model {}","args":{{"rows":{}}}}},
)",
                       at, r.data_parallel_id, rows);
  return out;
}

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
    : path_(path), file_(path), warn_(std::move(warn)), zero_(std::chrono::steady_clock::now()) {
  file_ << "[\n" << thread_name(arrivals, "requests");
  for (std::size_t i = 0; i < cores; ++i) file_ << thread_name(thread_of(i), fmt::format("nc:{}", i));
  file_.flush();
}

trace_file::~trace_file() { close(); }

void trace_file::add(execution_record record) {
  std::lock_guard lock(mutex_);
  if (!closed_) added_.push_back(std::move(record));
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
    std::vector<execution_record> records;
    {
      std::unique_lock lock(mutex_);
      last = changed_.wait_for(lock, interval, [this] { return closed_; });
      records.swap(added_);
    }
    write(records);
  }
  if (!file_) return;
  // The last event ends the list without a comma.
  file_ << R"({"ph":"M","pid":1,"name":"process_name","args":{"name":"ganglion"}}
]
)";
  file_.flush();
}

void trace_file::write(const std::vector<execution_record>& records) {
  if (!file_) return;
  for (const auto& r : records) file_ << trace_events(r, zero_);
  file_.flush();
  if (!file_)
    warn_(fmt::format("the timeline '{}' could not be written any more ({}): it ends here", path_.native(),
                      std::strerror(errno)));
}

}  // namespace ganglion

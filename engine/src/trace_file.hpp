#pragma once

#include <ganglion/actors/batcher/admission.hpp>
#include <ganglion/engine/engine.hpp>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

namespace ganglion {

/// A timeline of an engine's executions and requests as a file in the trace-event format, written by a thread of its
/// own while the engine runs: a file that was not closed, for the process died, opens too.
class trace_file {
 public:
  /// `warn` is told once where writing fails; what comes after that is dropped. Errors: `io_failed`.
  static expected<std::shared_ptr<trace_file>> open(const std::filesystem::path& path, std::size_t cores,
                                                    std::function<void(std::string_view)> warn);
  ~trace_file();

  /// Any thread. Never blocks on the file.
  void add(execution_record record);
  /// Of a core that was lost in the middle of it: it began at some time since it was formed, and was `gathered` never.
  void add_lost(execution_record record);
  void add(const request_record& record);
  /// Samples what waits at this gate from now on.
  void watch(std::weak_ptr<const admission> gate);
  /// Writes what was added. Nothing counts after it.
  void close();

 private:
  struct lost {
    execution_record record;
  };
  using event = std::variant<execution_record, lost, request_record>;

  trace_file(const std::filesystem::path& path, std::size_t cores, std::function<void(std::string_view)> warn);
  void run();
  void write(const std::vector<event>& events);
  std::string lost_execution(execution_record r);
  void sample();

  std::filesystem::path path_;
  std::ofstream file_;
  std::function<void(std::string_view)> warn_;
  execution_record::time_point zero_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<event> added_;
  std::weak_ptr<const admission> gate_;
  bool closed_ = false;
  // the thread's own
  std::vector<execution_record::time_point> last_ended_;  // by core
  std::int64_t last_sample_ = -1;
  std::thread thread_;
};

}  // namespace ganglion

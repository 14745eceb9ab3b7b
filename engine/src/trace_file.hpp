#pragma once

#include <ganglion/engine/engine.hpp>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

namespace ganglion {

/// A timeline of an engine's executions as a file in the trace-event format, written by a thread of its own while the
/// engine runs: a file that was not closed, for the process died, opens too.
class trace_file {
 public:
  /// `warn` is told once where writing fails; what comes after that is dropped. Errors: `io_failed`.
  static expected<std::shared_ptr<trace_file>> open(const std::filesystem::path& path, std::size_t cores,
                                                    std::function<void(std::string_view)> warn);
  ~trace_file();

  /// Any thread. Never blocks on the file.
  void add(execution_record record);
  /// Writes what was added. Nothing counts after it.
  void close();

 private:
  trace_file(const std::filesystem::path& path, std::size_t cores, std::function<void(std::string_view)> warn);
  void run();
  void write(const std::vector<execution_record>& records);

  std::filesystem::path path_;
  std::ofstream file_;
  std::function<void(std::string_view)> warn_;
  execution_record::time_point zero_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<execution_record> added_;
  bool closed_ = false;
  std::thread thread_;
};

/// The events of one execution, each followed by a comma and a newline. Times count from `zero`.
std::string trace_events(const execution_record& r, execution_record::time_point zero);

}  // namespace ganglion

#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace ganglion {

/// The warnings of one data_parallel: each kind is kept and logged once. Any thread.
class warning_log {
 public:
  using logger = std::function<void(std::string_view)>;

  explicit warning_log(logger log = {}) : log_(std::move(log)) {}

  /// Adds the sentence, unless one of that kind is there.
  void add(std::string_view kind, std::string sentence);
  std::vector<std::string> sentences() const;

 private:
  logger log_;
  mutable std::mutex mutex_;
  std::vector<std::string> kinds_;
  std::vector<std::string> sentences_;
};

}  // namespace ganglion

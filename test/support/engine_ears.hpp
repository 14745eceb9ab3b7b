#pragma once

#include <support/doctest.hpp>

#include <ganglion/engine/data_parallel.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace ganglion::test {

/// How often the program ran in so many executions.
inline std::size_t forwards_of(const std::vector<execution_record>& records) {
  std::int64_t result = 0;
  for (const auto& r : records) result += r.forwards;
  return static_cast<std::size_t>(result);
}

/// Hears what an engine tells: the executions that ended and the sentences of its log. Any thread.
class engine_ears {
 public:
  engine_ears() : heard_(std::make_shared<heard>()) {}

  /// Options of an engine of so many unpinned cores that tells this object.
  engine_options options(std::size_t cores) const {
    engine_options result;
    result.host_cores = cores;
    result.pin = false;
    result.on_execution = [heard = heard_](const execution_record& record) {
      std::lock_guard lock(heard->mutex);
      heard->executions.push_back(record);
      heard->changed.notify_all();
    };
    result.log = [heard = heard_](log_level, std::string_view sentence) {
      std::lock_guard lock(heard->mutex);
      heard->sentences.emplace_back(sentence);
      heard->changed.notify_all();
    };
    return result;
  }

  /// Waits until the program ran `count` times, then returns all. They are told after the answer, so an answer is not
  /// enough.
  std::vector<execution_record> wait_for_executions(std::size_t count) const {
    std::unique_lock lock(heard_->mutex);
    auto have = [&] { return forwards_of(heard_->executions) >= count; };
    heard_->changed.wait_for(lock, std::chrono::minutes(1), have);
    REQUIRE(have());
    return heard_->executions;
  }

  /// Waits for a sentence with this part, and returns it.
  std::string wait_for_sentence(std::string_view part) const {
    std::unique_lock lock(heard_->mutex);
    auto find = [&] {
      return std::find_if(heard_->sentences.begin(), heard_->sentences.end(),
                          [&](const std::string& s) { return s.find(part) != s.npos; });
    };
    heard_->changed.wait_for(lock, std::chrono::minutes(1), [&] { return find() != heard_->sentences.end(); });
    REQUIRE(find() != heard_->sentences.end());
    return *find();
  }

  std::vector<execution_record> executions() const { return wait_for_executions(0); }
  std::vector<std::string> sentences() const {
    std::lock_guard lock(heard_->mutex);
    return heard_->sentences;
  }
  void forget() {
    std::lock_guard lock(heard_->mutex);
    heard_->executions.clear();
    heard_->sentences.clear();
  }

 private:
  struct heard {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<execution_record> executions;
    std::vector<std::string> sentences;
  };

  std::shared_ptr<heard> heard_;
};

/// How often each core ran the program.
inline std::map<std::size_t, std::size_t> executions_per_core(const std::vector<execution_record>& records) {
  std::map<std::size_t, std::size_t> result;
  for (const auto& r : records) result[r.core] += static_cast<std::size_t>(r.forwards);
  return result;
}

/// The rows of executions, in the order of their formation.
inline std::vector<std::int64_t> rows_of(std::vector<execution_record> records) {
  std::sort(records.begin(), records.end(),
            [](const auto& a, const auto& b) { return a.execution_id < b.execution_id; });
  std::vector<std::int64_t> result;
  for (const auto& r : records) result.push_back(r.rows);
  return result;
}

/// The most executions that were on their way at once, each from its binding to a core to the end of its gather.
inline std::size_t largest_overlap(const std::vector<execution_record>& records) {
  std::vector<std::pair<execution_record::time_point, int>> edges;
  for (const auto& r : records) {
    edges.emplace_back(r.formed, 1);
    edges.emplace_back(r.gathered, -1);
  }
  std::sort(edges.begin(), edges.end());  // an end comes before a beginning of the same moment
  int now = 0, most = 0;
  for (const auto& [time, step] : edges) most = std::max(most, now += step);
  return static_cast<std::size_t>(most);
}

}  // namespace ganglion::test

#pragma once

#include <ganglion/actors/batcher/request_queue.hpp>

#include <cstdint>
#include <list>
#include <map>
#include <numeric>
#include <optional>
#include <string>

namespace ganglion {

/// A request of which the rows from `next_row` on wait.
struct queue_entry {
  request_ptr owner;
  std::int64_t next_row = 0;
  clock::time_point enqueued;
  std::size_t level = 0;
  std::string tenant;
  std::list<queue_entry>::iterator place;
  std::optional<std::multimap<clock::time_point, queue_entry*>::iterator> rise;

  std::int64_t rows() const { return owner->rows() - next_row; }
  bool goes_with(const std::string& join_key) const { return owner->joinable() && owner->join_key() == join_key; }
};

/// The sum of the rows of all classes.
template <class Rows>
std::int64_t all_of_key(const Rows& of_classes) {
  return std::accumulate(of_classes.begin(), of_classes.end(), std::int64_t{0});
}

}  // namespace ganglion

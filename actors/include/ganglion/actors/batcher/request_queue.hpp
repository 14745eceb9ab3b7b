#pragma once

#include <ganglion/actors/coordinator/request.hpp>

#include <deque>
#include <functional>
#include <optional>
#include <vector>

namespace ganglion {

/// Rows of one request that go into the next execution.
struct piece {
  request_ptr owner;
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::size_t chunk = 0;
  clock::time_point enqueued;
  /// The core that the rest of its chunk is bound to.
  std::optional<std::size_t> bound;
  /// The slot of a retry, and the core that it must not go to again; none the first time.
  slot* where = nullptr;
  std::optional<std::size_t> avoid;
};

/// The rows of one deployment that wait, in order of arrival: requests of which a part is not yet in an execution, the
/// remainders of chunks that are bound to a core, and slots to be run again.
class request_queue {
 public:
  void push(request_ptr r, clock::time_point now);
  void push_retry(piece p) { retries_.push_back(std::move(p)); }

  /// Whether nothing waits.
  bool empty() const { return waiting_.empty() && bound_.empty() && retries_.empty(); }

  /// The pieces that may go next, in order of preference: retries, remainders of begun chunks, then the next chunk of
  /// the oldest request. Calls `accept` with each until it returns a core; removes that piece and returns it with the
  /// core.
  std::optional<std::pair<piece, std::size_t>> take(
      const std::function<std::optional<std::size_t>(const piece&)>& accept);

  /// Rows that were taken out of the queue without being run: of a slot that was to be run again, or without a slot.
  struct withdrawn {
    request_ptr owner;
    std::int64_t rows;
    slot* where;
  };
  /// Takes out what waits of one request, or everything for a null pointer. The caller resolves the rows.
  std::vector<withdrawn> withdraw(const request* which);

  /// The request of that id, if a part of it waits.
  request_ptr find(std::uint64_t request_id) const;

  /// Remainders bound to a core that went away may go anywhere.
  void unbind(std::size_t core);

 private:
  /// A request of which the chunks from `next_chunk` on are not begun.
  struct entry {
    request_ptr owner;
    std::size_t next_chunk = 0;
    clock::time_point enqueued;
  };

  static piece first_of_chunk(const entry& e);

  std::deque<entry> waiting_;
  std::deque<piece> bound_;  // what is left of chunks of more rows than a batch
  std::deque<piece> retries_;
};

}  // namespace ganglion

#pragma once

#include <ganglion/actors/core/execution.hpp>

#include <array>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace ganglion {

/// Rows of one request that go into an execution.
struct piece {
  request_ptr owner;
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::size_t chunk = 0;
  /// The slot of rows that run again; none the first time.
  slot* where = nullptr;
  core_losses losses = {};
};

/// Pieces that go into one execution together.
struct batch {
  std::vector<piece> pieces;
  clock::time_point enqueued;  ///< when the oldest of them came
  /// The core that it must go to, and the one that it must not where another is there.
  std::optional<std::size_t> bound;
  std::optional<std::size_t> avoid;

  std::int64_t rows() const;
};

struct queue_config {
  /// Rows that a tenant takes in its turn.
  std::int64_t quantum = 1;
  /// After each such time a request that waits rises by one class; zero: never.
  std::chrono::nanoseconds ageing{0};
};

/// The rows of one deployment that wait, in the order in which they go: by class; inside a class what is begun (what
/// runs again, then the remainders of chunks that are bound to a core), and after it by deficit round robin over the
/// tenants (in rows), and of one tenant by arrival.
///
/// Rows of requests that may be joined go together: a batch is filled with what goes with its first row, of all tenants
/// and then of the lower classes, and a request that does not fit is split. Other requests go chunk by chunk.
class request_queue {
 public:
  explicit request_queue(queue_config config = {});
  request_queue(request_queue&&) noexcept;
  request_queue& operator=(request_queue&&) noexcept;
  ~request_queue();

  void push(request_ptr r, clock::time_point now);
  /// Rows that were in an execution before: they go together, and first of the most urgent class among them.
  void push_again(batch b) { again_.push_back(std::move(b)); }

  /// Whether nothing waits.
  bool empty() const { return rows() == 0 && bound_.empty() && again_.empty(); }
  /// The rows that wait for their first execution and are not bound to a core: all, or of a class and the more urgent.
  std::int64_t rows() const { return rows_up_to(priority::low); }
  std::int64_t rows_up_to(priority p) const;
  /// The rows of that class and the more urgent that were in an execution before, or are bound to a core as the rest of
  /// a chunk.
  std::int64_t rows_begun(priority p) const;
  /// The rows that go before those of a request that comes now: all that are more urgent, or begun and as urgent, those
  /// of its tenant, and of each other tenant of its class as many as those (deficit round robin) and a turn.
  std::int64_t rows_before(priority p, const std::string& name) const;
  /// What waits for its first time in executions that a request's rows do not go with: chunks that join nobody, and of
  /// each other key what is not a whole quantum.
  struct rows_apart {
    std::int64_t executions = 0;
    std::int64_t rows = 0;
  };
  rows_apart apart_from(const request& r) const;
  /// Whether something of that class runs again or is bound.
  bool any_begun(priority p) const;
  /// The class of the front; nothing where there is none.
  std::optional<priority> front_class() const;

  /// Lets those rise that have waited for long.
  void age(clock::time_point now);

  /// The first of that class that runs again or is bound, for which `accept` names a core.
  std::optional<std::pair<batch, std::size_t>> take_again(
      priority p, const std::function<std::optional<std::size_t>(const batch&)>& accept);

  /// The request that is next in order, of which rows wait; null where there is none.
  request_ptr front() const;
  /// When the oldest request that waits came. Precondition: `front()`.
  clock::time_point oldest() const;

  /// The rows that go with the front's, which may be joined: of its class, and of all; counted up to `most`.
  struct joinable_rows {
    std::int64_t of_its_class = 0;
    std::int64_t of_all = 0;
  };
  joinable_rows count_joinable(std::int64_t most) const;
  /// Whether something waits that would not go with the front's rows, which may be joined, and could go without any
  /// others: a request that may not be joined, or as many rows as are a quantum.
  bool others_could_go() const;
  /// Up to `most` rows that go with the front's, which may be joined.
  batch take_joined(std::int64_t most);
  /// The rows of the front that wait.
  std::int64_t front_rows() const;
  /// So many rows of the front alone, no more than wait.
  batch take_front(std::int64_t rows);
  /// The rows that `take_chunk` would take.
  std::int64_t next_chunk_rows() const;
  /// The begin of the next chunk of the front, which may not be joined: at most a batch. The rest is bound to `core`.
  batch take_chunk(std::size_t core);

  /// Takes out what waits of a request. The caller resolves its rows.
  void withdraw(const request_ptr& r);
  /// Remainders bound to a core that went away may go anywhere.
  void unbind(std::size_t core);

 private:
  struct tenant {
    std::string name;
    std::int64_t deficit = 0;
    std::int64_t rows = 0;
    std::list<queue_entry> entries;
  };
  /// The tenants of one class; the front has its turn.
  struct level {
    std::list<tenant> ring;
    std::unordered_map<std::string, std::list<tenant>::iterator> by_name;
    std::int64_t rows = 0;
    std::int64_t plain_rows = 0;  // those that go with any other, but for a key
  };
  /// The rows that go together for they have the same key, of each class.
  using keyed_rows = std::array<std::int64_t, priority_count>;

  using entries = std::list<queue_entry>;

  /// The most urgent class of which rows wait for their first execution; `priority_count` where none do.
  std::size_t first_level() const;
  /// The class of rows that are begun: of the most urgent of their requests, which rises as those that wait.
  std::size_t level_of(const batch& begun) const;
  /// The entry that is next in order. Precondition: there is one.
  const queue_entry& first_entry() const;
  static tenant& tenant_in(level& l, const std::string& name);
  static void forget_tenant(level& l, tenant& t);
  /// Gives the turn to the next tenant that has made up for what it took.
  void settle(level& l) const;
  void take_turns(std::size_t index, const std::string& join_key, std::int64_t most, batch& into);
  std::int64_t take_from(level& l, tenant& t, const std::string& join_key, std::int64_t most, batch& into);
  /// The chunk of its request's plan that the next row of an entry is of.
  static std::size_t chunk_of(const queue_entry& e);
  /// The begin of the next chunk of an entry.
  static piece next_piece(const queue_entry& e);
  /// The rows of a class that go with a key.
  std::int64_t rows_with(std::size_t level, const std::string& join_key) const;
  /// Those of all classes.
  std::int64_t rows_with(const std::string& join_key) const;
  /// Keeps the books of an entry's rows that come into a class, or leave it where they are negative.
  void count(std::size_t level, const queue_entry& e, std::int64_t rows);
  void bind_rest(const piece& p, clock::time_point enqueued, std::size_t core);
  std::int64_t rows_to_go(const batch& begun) const;
  /// Takes rows of the tenant that has the turn, at once and whatever its share of a turn is: it makes up for them.
  void take_at_once(level& l, entries::iterator e, std::int64_t rows);
  /// Rows of an entry that leave the queue; the entry goes with its last.
  entries::iterator consume(tenant& t, entries::iterator e, std::int64_t rows);

  queue_config config_;
  std::array<level, priority_count> levels_;
  std::multimap<clock::time_point, queue_entry*> rises_;
  clock::time_point aged_;   // when that was last looked at
  std::unordered_map<std::string, keyed_rows> keyed_;  // of the keys that are not empty
  std::size_t full_keys_ = 0;                          // of those with a quantum of rows or more
  rows_apart short_keys_;                              // what is left of them over whole quanta
  std::size_t alone_ = 0;                              // entries that may not be joined
  rows_apart alone_rows_;                              // and theirs
  std::deque<batch> bound_;  // what is left of chunks of more rows than a batch
  std::deque<batch> again_;
};

}  // namespace ganglion

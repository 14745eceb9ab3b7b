#pragma once

#include <ganglion/actors/protocol/handles.hpp>

#include <caf/send.hpp>

#include <atomic>
#include <mutex>
#include <optional>
#include <variant>
#include <vector>

namespace ganglion {

/// Brings messages to the coordinator of a data_parallel in their order, also while there is none yet: then they are
/// kept, for as long as the supervisor's mailbox takes to be read. Any thread.
class coordinator_line {
 public:
  coordinator_line() = default;
  coordinator_line(const coordinator_line&) = delete;
  coordinator_line& operator=(const coordinator_line&) = delete;

  void send(submission m) { bring(std::move(m)); }
  void send(configure m) { bring(std::move(m)); }
  void send(replace_model m) { bring(std::move(m)); }

  /// There is a coordinator. Again and with the same one without effect.
  void open(coordinator_actor to);
  /// There will be none: refuses the requests and replacements that were kept, and all that come. The first reason
  /// counts.
  void fail(const failure& reason);
  /// Lets the coordinator go; what was accepted still reaches it. The owner's last call.
  void close();

 private:
  using kept = std::variant<submission, configure, replace_model>;

  template <class Message>
  void bring(Message m) {
    // Once open the handle stays as it is until the owner closes the line, and then it sends no more.
    if (is_open_.load(std::memory_order_acquire))
      caf::anon_send(coordinator_, std::move(m));
    else
      keep(std::move(m));
  }
  void keep(kept m);
  static void refuse(const kept& m, const failure& reason);

  std::atomic<bool> is_open_{false};
  std::mutex mutex_;
  coordinator_actor coordinator_;
  bool closed_ = false;
  std::optional<failure> failed_;
  std::vector<kept> kept_;
};

}  // namespace ganglion

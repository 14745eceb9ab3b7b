#include "coordinator_line.hpp"

#include <caf/all.hpp>

#include <utility>

namespace ganglion {

void coordinator_line::keep(kept m) {
  std::optional<failure> refused;
  {
    std::lock_guard lock(mutex_);
    if (is_open_.load(std::memory_order_relaxed)) {
      std::visit([this](auto& message) { caf::anon_send(coordinator_, std::move(message)); }, m);
      return;
    }
    refused = failed_;
    if (!refused) kept_.push_back(std::move(m));
  }
  if (refused) refuse(m, *refused);
}

void coordinator_line::refuse(const kept& m, const failure& reason) {
  if (const auto* request = std::get_if<submission>(&m)) request->value->refuse(reason);
  if (const auto* replacement = std::get_if<replace_model>(&m)) replacement->reply({{}, nullptr, reason});
}

void coordinator_line::open(coordinator_actor to) {
  std::lock_guard lock(mutex_);
  if (is_open_.load(std::memory_order_relaxed)) return;
  for (auto& m : std::exchange(kept_, {}))
    std::visit([&to](auto& message) { caf::anon_send(to, std::move(message)); }, m);
  if (closed_) return;
  coordinator_ = std::move(to);
  is_open_.store(true, std::memory_order_release);
}

void coordinator_line::fail(const failure& reason) {
  std::vector<kept> refused;
  {
    std::lock_guard lock(mutex_);
    // Where there is a coordinator, the batcher fails what came through it.
    if (is_open_.load(std::memory_order_relaxed) || failed_) return;
    failed_ = reason;
    refused.swap(kept_);
  }
  for (const auto& m : refused) refuse(m, reason);
}

void coordinator_line::close() {
  coordinator_actor released;  // outside of the lock: it may be the last handle
  std::lock_guard lock(mutex_);
  closed_ = true;
  released = std::exchange(coordinator_, nullptr);
}

}  // namespace ganglion

#pragma once

#include <ganglion/actors/protocol/handles.hpp>

#include <caf/all.hpp>

#include <algorithm>
#include <chrono>

namespace ganglion {

/// Sends an actor a message after a time, if it is still there by then. CAF's own `delayed_send` holds its receiver
/// until then, and an actor system that is about to end would wait for it. This one leaves that to an actor of its
/// own, for which no system waits.
template <class Handle, class Message>
void send_later(caf::local_actor& self, const Handle& to, std::chrono::nanoseconds delay, Message message) {
  // What is further away than the clock can count comes early, and whoever sent it looks again.
  constexpr std::chrono::nanoseconds longest = std::chrono::hours(24 * 365);
  delay = std::min(delay, longest);
  // The delay is an argument since CAF 0.17 dereferences null where there is none.
  self.spawn<caf::hidden>(
      [weak = caf::actor_cast<caf::weak_actor_ptr>(to), message = std::move(message)](
          caf::event_based_actor* timer, std::chrono::nanoseconds after) -> caf::behavior {
        timer->delayed_send(timer, after, caf::tick_atom::value);
        return {[=](caf::tick_atom) {
          if (auto receiver = strengthen<Handle>(weak)) caf::anon_send(receiver, message);
          timer->quit();
        }};
      },
      delay);
}

}  // namespace ganglion

#pragma once

#include <ganglion/actors/protocol/status.hpp>

#include <string>

namespace ganglion {

/// A status as the text that Prometheus scrapes (exposition format 0.0.4), metrics named `ganglion_...`; serve it as
/// `text/plain; version=0.0.4`. Times are in seconds, and counters of a core start again when it does. Any thread.
/// docs/how-to/operate.md lists the metrics.
std::string prometheus_text(const status& now);

}  // namespace ganglion

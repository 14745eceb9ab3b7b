#pragma once

#include <ganglion/engine/topology.hpp>

/// A host of so many cores, and no variable.
inline ganglion::topology_request host_of(std::size_t cores) {
  ganglion::topology_request request;
  request.host_cores = cores;
  return request;
}

/// The same with NEURON_RT_VISIBLE_CORES.
inline ganglion::topology_request visible(std::size_t host, std::string text) {
  auto request = host_of(host);
  request.visible_cores_env = std::move(text);
  return request;
}

/// The same with NEURON_RT_NUM_CORES.
inline ganglion::topology_request first(std::size_t host, std::string number) {
  auto request = host_of(host);
  request.num_cores_env = std::move(number);
  return request;
}

#pragma once

#include <ganglion/engine/topology.hpp>
#include <ganglion/model_io/error.hpp>

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

namespace ganglion {

/// Where the processes of a host, of all its users, lock their cores: one file a core, `core-<global>.lock`.
std::filesystem::path default_lock_directory();

/// The other process that holds a core: its id, 0 where the id is not known; nothing where the core is free
/// or held by this process. Takes no lock, not even for a moment, and creates nothing.
/// Fails with `errc::io_failed` where the directory or the file cannot be read or is not what it should be.
expected<std::optional<pid_t>> other_core_holder(const std::filesystem::path& directory, std::size_t global);

/// The cores that one engine holds for its process, until destruction. Move-only; one object is used by one
/// thread at a time; several objects may be used by several threads at once.
///
/// A core belongs to a process and is shared by its engines: the lock goes when the last object that took it
/// goes. The locks are the kernel's advisory ones: a process that ends in any way leaves nothing locked,
/// though the files stay. A forked child holds none of its parent's locks, and its copy of an object does
/// nothing. A lock file that is a symbolic link, has a second name or is no regular file is refused.
class core_locks {
 public:
  explicit core_locks(std::filesystem::path directory = default_lock_directory());
  core_locks(core_locks&& other) noexcept;
  core_locks& operator=(core_locks&& other) noexcept;
  ~core_locks();

  /// Takes a core, by its global index: nothing where this object holds it now (also where it did before),
  /// else the process that has it, as in `other_core_holder`. Creates the directory (for all users, mode
  /// 1777) where it is missing. Fails with `errc::io_failed` as `other_core_holder` does.
  expected<std::optional<pid_t>> take(std::size_t global);

  /// How many cores this object holds.
  std::size_t size() const noexcept { return files_.size(); }

 private:
  void release() noexcept;

  std::filesystem::path directory_;
  /// Global index -> device and inode of its lock file.
  std::map<std::size_t, std::pair<std::uint64_t, std::uint64_t>> files_;
  /// Tells a forked child's copy from the parent's object.
  unsigned generation_;
};

/// What an engine starts with: the cores it sees, and the locks on them where it needs any.
struct reserved_cores {
  ganglion::topology topology;
  core_locks locks;
};

/// `resolve_topology`, and the locks on what it found. Choosing and taking are one step, so that processes
/// that start together with NEURON_RT_NUM_CORES choose different cores. Fails as both do, and with
/// `errc::core_unavailable`, naming the core and the holder's process id, where another process has a core of
/// NEURON_RT_VISIBLE_CORES.
expected<reserved_cores> reserve_cores(const topology_request& request,
                                       const std::filesystem::path& directory = default_lock_directory());

/// `resolve_topology` without taking anything: what an engine would see if it were made now.
expected<topology> preview_cores(const topology_request& request,
                                 const std::filesystem::path& directory = default_lock_directory());

}  // namespace ganglion

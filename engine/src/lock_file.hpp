#pragma once

#include <ganglion/model_io/error.hpp>

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <utility>

namespace ganglion {

/// An open lock file of one core: what to ask the kernel about it. Closes on destruction.
/// The locks are those of the open file description (F_OFD_SETLK): unlike flock, whether one is held can be
/// asked without taking it; unlike a process's fcntl locks, closing another descriptor of the file does not
/// drop it.
class lock_file {
 public:
  enum class access { ask, take };

  using identity = std::pair<std::uint64_t, std::uint64_t>;  ///< device and inode

  /// Nothing where `access::ask` finds no such file; `access::take` creates it, and the directory.
  static expected<std::optional<lock_file>> open(const std::filesystem::path& directory, std::size_t global,
                                                 access how);

  lock_file(lock_file&& other) noexcept : fd_(std::exchange(other.fd_, -1)), id_(other.id_) {}
  lock_file& operator=(lock_file&&) = delete;
  ~lock_file();

  identity id() const noexcept { return id_; }
  /// Whether somebody deleted the file since it was opened: then a lock on it keeps nobody out.
  bool deleted() const noexcept;
  /// True: locked. False: another has it.
  expected<bool> try_lock() const;
  expected<bool> locked_by_another() const;
  /// Drops the lock even where a child between fork and exec still has the descriptor.
  void unlock() const noexcept;

  void write_holder() const noexcept;
  void erase_holder() const noexcept;
  /// The process id in the file; 0 where there is none, or only that of a process that is gone.
  pid_t read_holder() const noexcept;

 private:
  lock_file(int fd, identity id) noexcept : fd_(fd), id_(id) {}

  int fd_;
  identity id_;
};

}  // namespace ganglion

#include <ganglion/engine/core_lock.hpp>

#include "lock_file.hpp"
#include "process_wide.hpp"

#include <fmt/format.h>

#include <utility>

namespace ganglion {

namespace {

/// The cores that this process holds, over all its engines. Keyed by the file itself, not by its path: one
/// directory may have several.
struct held_cores {
  struct entry {
    lock_file file;
    std::size_t users;
  };

  std::map<lock_file::identity, entry> entries;
  unsigned generation = 0;

  void after_fork_in_child() noexcept {
    // Closing without unlocking: parent and child share the lock until then, and it is the parent's.
    entries.clear();
    ++generation;
  }
};

using process_locks = process_wide<held_cores>;

// Somebody who clears the directory again and again gets an error, not an endless loop.
constexpr int attempts = 16;

}  // namespace

std::filesystem::path default_lock_directory() { return "/tmp/ganglion-cores"; }

expected<std::optional<pid_t>> other_core_holder(const std::filesystem::path& directory, std::size_t global) {
  std::optional<pid_t> nobody;
  auto file = lock_file::open(directory, global, lock_file::access::ask);
  if (!file) return file.error();
  if (!*file) return nobody;
  if (process_locks::with([&](auto& held) { return held.entries.contains((*file)->id()); })) return nobody;
  auto locked = (*file)->locked_by_another();
  if (!locked) return locked.error();
  return *locked ? std::optional{(*file)->read_holder()} : nobody;
}

core_locks::core_locks(std::filesystem::path directory)
    : directory_(std::move(directory)),
      generation_(process_locks::with([](auto& held) { return held.generation; })) {}

core_locks::core_locks(core_locks&& other) noexcept
    : directory_(std::move(other.directory_)),
      files_(std::exchange(other.files_, {})),
      generation_(other.generation_) {}

core_locks& core_locks::operator=(core_locks&& other) noexcept {
  if (this == &other) return *this;
  release();
  directory_ = std::move(other.directory_);
  files_ = std::exchange(other.files_, {});
  generation_ = other.generation_;
  return *this;
}

core_locks::~core_locks() { release(); }

expected<std::optional<pid_t>> core_locks::take(std::size_t global) {
  std::optional<pid_t> nobody;
  return process_locks::with([&](held_cores& held) -> expected<std::optional<pid_t>> {
    if (generation_ != held.generation) {
      files_.clear();
      generation_ = held.generation;
    }
    if (files_.contains(global)) return nobody;
    for (int attempt = 0; attempt < attempts; ++attempt) {
      auto opened = lock_file::open(directory_, global, lock_file::access::take);
      if (!opened) return opened.error();
      auto& file = **opened;
      auto id = file.id();
      auto found = held.entries.find(id);
      if (found == held.entries.end()) {
        auto locked = file.try_lock();
        if (!locked) return locked.error();
        if (!*locked) return std::optional{file.read_holder()};
        if (file.deleted()) continue;
        file.write_holder();
        found = held.entries.emplace(id, held_cores::entry{std::move(file), 0}).first;
      }
      ++found->second.users;
      files_.emplace(global, id);
      return nobody;
    }
    return failure{errc::io_failed,
                   fmt::format("cannot lock NeuronCore {}: somebody keeps deleting its lock file in {}", global,
                               directory_.string())};
  });
}

void core_locks::release() noexcept {
  process_locks::with([&](held_cores& held) {
    if (generation_ != held.generation) return;
    for (const auto& [global, file] : files_) {
      auto found = held.entries.find(file);
      if (--found->second.users > 0) continue;
      found->second.file.erase_holder();
      found->second.file.unlock();
      held.entries.erase(found);
    }
  });
  files_.clear();
}

expected<reserved_cores> reserve_cores(const topology_request& request,
                                       const std::filesystem::path& directory) {
  core_locks locks{directory};
  auto found = resolve_topology(request, [&](std::size_t global) { return locks.take(global); });
  if (!found) return found.error();
  if (found->needs_locks)
    for (const auto& core : found->cores) {
      auto holder = locks.take(core.global);
      if (!holder) return holder.error();
      if (*holder)
        return failure{
            errc::core_unavailable,
            fmt::format("NeuronCore {} of this host (nc:{} of this process) is held by {}; end it, or leave "
                        "that core out of NEURON_RT_VISIBLE_CORES={}",
                        core.global, core.index,
                        **holder == 0 ? "another process" : fmt::format("process {}", **holder),
                        request.visible_cores_env.value_or(""))};
    }
  return reserved_cores{std::move(*found), std::move(locks)};
}

expected<topology> preview_cores(const topology_request& request, const std::filesystem::path& directory) {
  return resolve_topology(request, [&](std::size_t global) { return other_core_holder(directory, global); });
}

}  // namespace ganglion

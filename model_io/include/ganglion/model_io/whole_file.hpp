#pragma once

#include <ganglion/model_io/error.hpp>

#include <filesystem>
#include <functional>
#include <iosfwd>

namespace ganglion {

/// Writes a new file and makes it the target: the target is whole, or as it was, and where the file system has files
/// without a name (O_TMPFILE) a process that is killed leaves nothing beside it. Where it has none (NFS, some container
/// layers) the new file is `.ganglion-<16 hex digits>.tmp` beside the target until it is whole: a process that is
/// killed leaves that, which nobody reads and which may be deleted. Links are followed, see `written_path`.
/// Errors: `io_failed`, also where the target exists and is no ordinary file, or may not be written to.
expected<void> write_whole_file(const std::filesystem::path& path,
                                const std::function<void(std::ostream&)>& write);

/// Whether `write_whole_file` could write there now: to be asked before the work whose result goes into the file.
/// Leaves nothing behind. Errors: as above.
expected<void> check_whole_file(const std::filesystem::path& path);

/// The file that writing to a path writes: without links, also those that lead to no file yet. Errors: `io_failed`.
expected<std::filesystem::path> written_path(const std::filesystem::path& path);

}  // namespace ganglion

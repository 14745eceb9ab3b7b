#pragma once

#include <ganglion/model_io/error.hpp>

#include <filesystem>
#include <functional>
#include <iosfwd>

namespace ganglion {

/// Writes a file beside the target and renames it: the target is whole, or as it was. A link is followed.
/// Errors: `io_failed`, also where the target exists and is no ordinary file, or may not be written to.
expected<void> write_whole_file(const std::filesystem::path& path,
                                const std::function<void(std::ostream&)>& write);

/// Whether `write_whole_file` could write there now: to be asked before the work whose result goes into the file.
/// Leaves nothing behind. Errors: as above.
expected<void> check_whole_file(const std::filesystem::path& path);

}  // namespace ganglion

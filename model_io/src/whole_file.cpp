#include "whole_file.hpp"

#include <fmt/format.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <unistd.h>

namespace ganglion {

namespace fs = std::filesystem;

namespace {

failure cannot_write(const fs::path& path, std::string_view why) {
  return {errc::io_failed, fmt::format("'{}' cannot be written: {}", path.native(), why)};
}

std::string last_system_error() { return std::generic_category().message(errno); }

/// Removes the file at the end, unless it was renamed by then.
struct temporary_file {
  explicit temporary_file(const fs::path& target) : path(target) {
    static std::atomic<unsigned> counter{0};
    path.replace_filename(fmt::format(".{}.{}-{}.tmp", target.filename().native(), ::getpid(), ++counter));
  }
  ~temporary_file() {
    std::error_code ignored;
    fs::remove(path, ignored);
  }
  fs::path path;
};

}  // namespace

expected<void> write_whole_file(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  std::error_code ec;
  auto target = fs::weakly_canonical(path, ec);
  if (ec) return cannot_write(path, ec.message());
  auto status = fs::status(target, ec);
  if (fs::exists(status) && !fs::is_regular_file(status))
    return cannot_write(path, "it is a folder or a device, not a file");

  temporary_file temporary(target);
  std::ofstream out(temporary.path, std::ios::binary | std::ios::trunc);
  if (!out) return cannot_write(path, last_system_error());
  write(out);
  out.close();
  if (!out) return cannot_write(path, last_system_error());
  fs::rename(temporary.path, target, ec);
  if (ec) return cannot_write(path, ec.message());
  return {};
}

}  // namespace ganglion

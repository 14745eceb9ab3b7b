#include <ganglion/model_io/whole_file.hpp>

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

/// The file that a path leads to.
expected<fs::path> target_of(const fs::path& path) {
  std::error_code ec;
  auto target = fs::weakly_canonical(path, ec);
  if (ec) return cannot_write(path, ec.message());
  if (target.filename().empty()) return cannot_write(path, "it names no file");
  const auto status = fs::status(target, ec);
  if (!fs::exists(status)) return target;
  if (!fs::is_regular_file(status)) return cannot_write(path, "it is a folder or a device, not a file");
  // To rename over it the folder's permission alone would do.
  if (::access(target.c_str(), W_OK) != 0) return cannot_write(path, last_system_error());
  return target;
}

std::ofstream opened(const temporary_file& temporary) {
  return std::ofstream(temporary.path, std::ios::binary | std::ios::trunc);
}

}  // namespace

expected<void> write_whole_file(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  const auto target = target_of(path);
  if (!target) return target.error();
  const temporary_file temporary(*target);
  auto out = opened(temporary);
  if (!out) return cannot_write(path, last_system_error());
  write(out);
  out.close();
  if (!out) return cannot_write(path, last_system_error());
  std::error_code ec;
  fs::rename(temporary.path, *target, ec);
  if (ec) return cannot_write(path, ec.message());
  return {};
}

expected<void> check_whole_file(const fs::path& path) {
  const auto target = target_of(path);
  if (!target) return target.error();
  const temporary_file temporary(*target);
  if (!opened(temporary)) return cannot_write(path, last_system_error());
  return {};
}

}  // namespace ganglion

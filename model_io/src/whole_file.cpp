#include <ganglion/model_io/whole_file.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <random>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace ganglion {

namespace fs = std::filesystem;

namespace {

failure cannot_write(const fs::path& path, std::string_view why) {
  return {errc::io_failed, fmt::format("'{}' cannot be written: {}", path.native(), why)};
}

std::string last_system_error() { return std::generic_category().message(errno); }

/// A file beside the target that becomes it. Until then it has no name where the file system can do so: then nothing is
/// left behind, in whatever way the process ends.
class new_file {
 public:
  explicit new_file(const fs::path& target) : target_(target), path_(target) {
    // At random, since process ids are the same in different containers that share a folder.
    std::random_device random;
    path_.replace_filename(fmt::format(".ganglion-{:08x}{:08x}.tmp", random(), random()));
    nameless_ = ::open(target.parent_path().c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    if (nameless_ >= 0) out_.open(open_name(), std::ios::binary | std::ios::trunc);
    if (out_.is_open()) return;
    forget_nameless();
    out_.clear();
    out_.open(path_, std::ios::binary | std::ios::trunc);
  }
  new_file(const new_file&) = delete;
  ~new_file() {
    if (nameless_ < 0) ::unlink(path_.c_str());
    forget_nameless();
  }

  /// Whether it could be opened, else with errno.
  std::ofstream& out() { return out_; }

  /// Closes it and makes it the target; false with errno.
  bool publish() {
    out_.close();
    if (!out_) return false;
    if (nameless_ >= 0 &&
        ::linkat(AT_FDCWD, open_name().c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) != 0)
      return false;
    if (::rename(path_.c_str(), target_.c_str()) == 0) return true;
    const auto problem = errno;
    ::unlink(path_.c_str());
    errno = problem;
    return false;
  }

 private:
  std::string open_name() const { return fmt::format("/proc/self/fd/{}", nameless_); }
  void forget_nameless() {
    if (nameless_ >= 0) ::close(std::exchange(nameless_, -1));
  }

  fs::path target_;
  /// Its name, where it has one, and between having been written and being the target.
  fs::path path_;
  int nameless_ = -1;
  std::ofstream out_;
};

/// The file that a path leads to, where it may be written.
expected<fs::path> target_of(const fs::path& path) {
  if (path.empty()) return cannot_write(path, "the path is empty");
  auto found = written_path(path);
  if (!found) return found;
  const auto& target = *found;
  if (target.filename().empty()) return cannot_write(path, "it names no file");
  std::error_code ec;
  const auto status = fs::status(target, ec);
  if (status.type() == fs::file_type::none) return cannot_write(path, ec.message());
  if (!fs::exists(status)) return found;
  if (!fs::is_regular_file(status)) return cannot_write(path, "it is a folder, a device, a pipe or a socket, not a file");
  // To rename over it the folder's permission alone would do.
  if (::access(target.c_str(), W_OK) != 0) return cannot_write(path, last_system_error());
  return found;
}

}  // namespace

expected<fs::path> written_path(const fs::path& path) {
  std::error_code ec, none;
  auto target = fs::weakly_canonical(fs::absolute(path, ec), ec);
  // That leaves a link as it is which leads to nothing, and follows those that lead in a circle to an error.
  while (!ec && fs::is_symlink(fs::symlink_status(target, none))) {
    const auto next = fs::read_symlink(target, ec);
    if (!ec) target = fs::weakly_canonical(target.parent_path() / next, ec);
  }
  if (ec) return cannot_write(path, ec.message());
  return target;
}

expected<void> write_whole_file(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  const auto target = target_of(path);
  if (!target) return target.error();
  new_file file(*target);
  if (!file.out()) return cannot_write(path, last_system_error());
  write(file.out());
  if (!file.publish()) return cannot_write(path, last_system_error());
  return {};
}

expected<void> check_whole_file(const fs::path& path) {
  const auto target = target_of(path);
  if (!target) return target.error();
  new_file file(*target);
  if (!file.out()) return cannot_write(path, last_system_error());
  return {};
}

}  // namespace ganglion

#include "lock_file.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <string>

namespace ganglion {

namespace {

constexpr mode_t directory_mode = S_ISVTX | S_IRWXU | S_IRWXG | S_IRWXO;
constexpr mode_t file_mode = S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH;

class descriptor {
 public:
  explicit descriptor(int fd) noexcept : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(other.release()) {}
  descriptor& operator=(descriptor&&) = delete;
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

failure unusable(const std::filesystem::path& path, std::string_view why,
                 std::string_view remedy = "delete it, and it is made anew") {
  return {errc::io_failed, fmt::format("cannot lock NeuronCores with {}: {}; {}", path.string(), why, remedy)};
}

failure unusable(const std::filesystem::path& path, int code) {
  if (code == ELOOP) return unusable(path, "it is a symbolic link");
  if (code == ENOTDIR) return unusable(path, "it is not a folder");
  if (code == EISDIR) return unusable(path, "it is a folder");
  return unusable(path, std::generic_category().message(code),
                  "every user must be able to write there: the folder wants mode 1777, the files in it 666");
}

/// -1 where it does not exist and is not to be created.
expected<descriptor> open_directory(const std::filesystem::path& path, lock_file::access how) {
  constexpr int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  bool created = how == lock_file::access::take && ::mkdir(path.c_str(), directory_mode) == 0;
  descriptor directory{::open(path.c_str(), flags)};
  if (directory.get() < 0) {
    if (errno == ENOENT && how == lock_file::access::ask) return directory;
    // With O_DIRECTORY a symbolic link reads as "not a directory".
    std::error_code ignored;
    if (errno == ENOTDIR && std::filesystem::is_symlink(path, ignored)) return unusable(path, ELOOP);
    return unusable(path, errno);
  }
  // mkdir's mode went through the umask.
  if (created && ::fchmod(directory.get(), directory_mode) != 0) return unusable(path, errno);
  return directory;
}

/// Opening is tried before creating: in a directory like /tmp, kernels with fs.protected_regular refuse
/// O_CREAT on a file that exists and belongs to another user. O_NONBLOCK: a device or a pipe put there must
/// not hold us up.
descriptor open_file(int directory, const char* name, lock_file::access how) {
  constexpr int flags = O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  if (how == lock_file::access::ask) return descriptor{::openat(directory, name, flags | O_RDONLY)};
  for (;;) {
    descriptor file{::openat(directory, name, flags | O_RDWR)};
    if (file.get() >= 0 || errno != ENOENT) return file;
    descriptor fresh{::openat(directory, name, flags | O_RDWR | O_CREAT | O_EXCL, file_mode)};
    if (fresh.get() >= 0 || errno != EEXIST) return fresh;
  }
}

struct ::flock whole_file() {
  struct ::flock request {};
  request.l_type = F_WRLCK;
  request.l_whence = SEEK_SET;
  return request;
}

}  // namespace

expected<std::optional<lock_file>> lock_file::open(const std::filesystem::path& directory, std::size_t global,
                                                   access how) {
  auto parent = open_directory(directory, how);
  if (!parent) return parent.error();
  if (parent->get() < 0) return std::optional<lock_file>{};
  auto name = fmt::format("core-{}.lock", global);
  auto path = directory / name;
  auto file = open_file(parent->get(), name.c_str(), how);
  if (file.get() < 0) {
    if (errno == ENOENT && how == access::ask) return std::optional<lock_file>{};
    return unusable(path, errno);
  }
  struct ::stat status {};
  if (::fstat(file.get(), &status) != 0) return unusable(path, errno);
  if (!S_ISREG(status.st_mode)) return unusable(path, "it is not a regular file");
  // We write to it: a second name could be somebody's file that was linked here.
  if (status.st_nlink > 1) return unusable(path, "it has a second name (a hard link)");
  if (how == access::take && status.st_uid == ::geteuid() && (status.st_mode & file_mode) != file_mode &&
      ::fchmod(file.get(), file_mode) != 0)
    return unusable(path, errno);
  return std::optional<lock_file>{lock_file{file.release(), identity{status.st_dev, status.st_ino}}};
}

lock_file::~lock_file() {
  if (fd_ >= 0) ::close(fd_);
}

bool lock_file::deleted() const noexcept {
  struct ::stat status {};
  return ::fstat(fd_, &status) == 0 && status.st_nlink == 0;
}

expected<bool> lock_file::try_lock() const {
  auto request = whole_file();
  if (::fcntl(fd_, F_OFD_SETLK, &request) == 0) {
    // Only a mark: systemd-tmpfiles does not age out a file that carries a lock of this kind.
    ::flock(fd_, LOCK_SH | LOCK_NB);
    return true;
  }
  if (errno == EAGAIN || errno == EACCES) return false;
  return failure{errc::io_failed,
                 fmt::format("cannot lock NeuronCores: {}", std::generic_category().message(errno))};
}

expected<bool> lock_file::locked_by_another() const {
  auto request = whole_file();
  if (::fcntl(fd_, F_OFD_GETLK, &request) == 0) return request.l_type != F_UNLCK;
  return failure{errc::io_failed, fmt::format("cannot ask for a NeuronCore's lock: {}",
                                              std::generic_category().message(errno))};
}

void lock_file::unlock() const noexcept {
  auto request = whole_file();
  request.l_type = F_UNLCK;
  ::fcntl(fd_, F_OFD_SETLK, &request);
}

void lock_file::write_holder() const noexcept {
  auto line = fmt::format("{}\n", ::getpid());
  // Over the old text and then cut: whoever reads the first line at any moment reads one whole id. Where the
  // disk is full the lock holds all the same, and the holder's id is not known.
  auto length = static_cast<off_t>(line.size());
  if (::pwrite(fd_, line.data(), line.size(), 0) != length || ::ftruncate(fd_, length) != 0) erase_holder();
}

void lock_file::erase_holder() const noexcept {
  if (::ftruncate(fd_, 0) != 0) return;
}

pid_t lock_file::read_holder() const noexcept {
  std::array<char, 16> line{};
  auto length = ::pread(fd_, line.data(), line.size(), 0);
  pid_t process = 0;
  if (length <= 0) return 0;
  auto [end, code] = std::from_chars(line.data(), line.data() + length, process);
  if (code != std::errc{} || end == line.data() + length || *end != '\n' || process <= 0) return 0;
  // A crashed holder's id stays until the next holder has written its own.
  return ::kill(process, 0) != 0 && errno == ESRCH ? 0 : process;
}

}  // namespace ganglion

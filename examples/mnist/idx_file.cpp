#include "idx_file.hpp"

#include <ganglion/model_io/error.hpp>

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace {

[[noreturn]] void refuse(ganglion::errc code, const std::filesystem::path& path, std::string_view reason) {
  throw ganglion::error(code, fmt::format("{} {}", path.string(), reason));
}

class gzip_file {
 public:
  explicit gzip_file(const std::filesystem::path& path)
      : path_(path), file_(gzopen(path.c_str(), "rb"), gzclose) {
    if (!file_)
      refuse(ganglion::errc::io_failed, path_, "cannot be opened");
  }

  void read(void* target, std::size_t bytes) {
    if (gzread(file_.get(), target, static_cast<unsigned>(bytes)) != static_cast<int>(bytes))
      refuse(ganglion::errc::io_failed, path_, "is shorter than its header says, or damaged");
  }

 private:
  const std::filesystem::path& path_;
  std::unique_ptr<gzFile_s, decltype(&gzclose)> file_;
};

}  // namespace

at::Tensor read_idx_file(const std::filesystem::path& path) {
  constexpr std::int64_t largest_size = 1 << 28;
  gzip_file file(path);
  // Two zero bytes, the element type (8: unsigned byte), the number of dimensions; then each size, big
  // endian.
  std::array<std::uint8_t, 4> header{};
  file.read(header.data(), header.size());
  if (header[0] != 0 || header[1] != 0 || header[2] != 8 || header[3] == 0)
    refuse(ganglion::errc::invalid_argument, path, "is no IDX file of unsigned bytes");
  std::vector<std::int64_t> sizes;
  std::int64_t total = 1;
  for (int i = 0; i < header[3]; ++i) {
    std::array<std::uint8_t, 4> size{};
    file.read(size.data(), size.size());
    sizes.push_back(std::int64_t{size[0]} << 24 | size[1] << 16 | size[2] << 8 | size[3]);
    total *= sizes.back();
    if (total > largest_size)
      refuse(ganglion::errc::invalid_argument, path, "claims to hold more than 256 MiB");
  }
  auto tensor = at::empty(sizes, at::kByte);
  file.read(tensor.data_ptr(), static_cast<std::size_t>(total));
  return tensor;
}

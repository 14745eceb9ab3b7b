// Tensor files: any bytes are a file of tensors or a sentence, and the tensors lie within what was read.
#include "fuzz.hpp"

#include <ganglion/model_io/tensor_file.hpp>
#include <ganglion/model_io/value_tree.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <sys/mman.h>
#include <unistd.h>

using namespace ganglion;
using fuzz::require;

namespace {

/// A file without a disk.
class memory_file {
 public:
  memory_file() : file_(memfd_create("tensors", 0)) { require(file_ >= 0, "there is a file in memory"); }
  ~memory_file() { close(file_); }

  std::string path() const { return fmt::format("/proc/self/fd/{}", file_); }
  void hold(const std::uint8_t* data, std::size_t size) const {
    require(ftruncate(file_, 0) == 0, "the file can be emptied");
    require(pwrite(file_, data, size, 0) == static_cast<ssize_t>(size), "the file can be written");
  }

 private:
  int file_;
};

/// Reads every element, unless a view of little memory makes them too many.
void touch(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.numel() > 1 << 20) return;
  require(tensor.numel() == 0 || tensor.clone().defined(), "its elements can be read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static memory_file file;
  file.hold(data, size);
  auto value = read_tensor_file(file.path());
  if (!value) {
    auto code = value.error().code;
    require(code == errc::invalid_argument || code == errc::io_failed, "the code is one of the two");
    require(value.error().text.starts_with("'" + file.path() + "' "), "the sentence begins with the file's name");
    return 0;
  }
  auto leaves = leaves_of(*value);
  require(!leaves.empty() || value->isTuple(), "there is a tensor, or a tuple");
  for (const auto& leaf : leaves) {
    require(leaf.value.isTensor(), "there are tensors and nothing else");
    touch(leaf.value.toTensor());
  }
  return 0;
}

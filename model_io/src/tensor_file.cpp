#include <ganglion/model_io/tensor_file.hpp>

#include "npy_file.hpp"
#include "torch_file.hpp"

#include <ganglion/model_io/value_tree.hpp>
#include <ganglion/model_io/whole_file.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/serialize.h>

#include <cctype>
#include <cerrno>
#include <fstream>

namespace ganglion {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view zip_magic{"PK\3\4"};
constexpr std::string_view pickle_magic{"\x80\2"};

/// A failure of the file, with its name in front.
failure about(const fs::path& path, failure f) {
  f.text = fmt::format("'{}' cannot be read as a tensor file: {}", path.native(), f.text);
  return f;
}

std::string first_bytes(std::ifstream& in) {
  std::string bytes(npy_magic.size(), '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(in.gcount()));
  in.clear();
  in.seekg(0);
  return bytes;
}

expected<c10::IValue> read_any(const fs::path& path) {
  std::error_code ec;
  auto status = fs::status(path, ec);
  if (status.type() == fs::file_type::not_found) return failure{errc::io_failed, "there is no such file"};
  if (status.type() == fs::file_type::none) return failure{errc::io_failed, ec.message()};
  if (!fs::is_regular_file(status)) return failure{errc::io_failed, "it is a folder, a device, a pipe or a socket, not a file"};
  auto size = fs::file_size(path, ec);
  std::ifstream in(path, std::ios::binary);
  if (ec || !in) return failure{errc::io_failed, std::generic_category().message(ec ? ec.value() : errno)};
  if (size == 0) return failure{errc::invalid_argument, "it is empty"};

  auto start = first_bytes(in);
  if (start == npy_magic) {
    auto tensor = read_npy(in, size);
    if (!tensor) return tensor.error();
    return c10::IValue(*tensor);
  }
  if (start.starts_with(zip_magic)) return read_torch_file(path);
  if (start.starts_with(pickle_magic))
    return failure{
        errc::invalid_argument,
        "it is a pickle, maybe of torch.save's old format: save it with torch.save of PyTorch 1.6 or later, "
        "without _use_new_zipfile_serialization=False"};
  return failure{errc::invalid_argument, "it is neither of torch.save's zip format nor NumPy's .npy"};
}

/// An ordinary tensor on the CPU that brings no more storage along than its own elements.
at::Tensor compact(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  auto plain = tensor.detach().cpu().resolve_conj().resolve_neg();
  if (plain.layout() != at::kStrided) return plain;
  bool whole = plain.is_non_overlapping_and_dense() && plain.storage().nbytes() == plain.nbytes();
  return whole ? plain : plain.clone();
}

c10::IValue compact_tree(const c10::IValue& value) {
  std::vector<c10::IValue> leaves;
  for (const value_leaf& leaf : leaves_of(value))
    leaves.push_back(leaf.value.isTensor() ? c10::IValue(compact(leaf.value.toTensor())) : leaf.value);
  return with_leaves(value, leaves);
}

expected<void> write_npy(const c10::IValue& value, const fs::path& path) {
  auto refuse = [&](std::string_view why) {
    return failure{errc::invalid_argument, fmt::format("'{}' cannot be written: {}", path.native(), why)};
  };
  if (!value.isTensor() || !value.toTensor().defined() || value.toTensor().layout() != at::kStrided)
    return refuse(fmt::format("a .npy file holds one tensor, not {}; write a .pt file", describe(value)));
  auto tensor = compact(value.toTensor()).contiguous();
  auto header = npy_header(tensor.scalar_type(), tensor.sizes());
  if (!header) return refuse(header.error().text);
  return write_whole_file(path, [&](std::ostream& out) {
    out << *header;
    out.write(static_cast<const char*>(tensor.data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
  });
}

}  // namespace

expected<c10::IValue> read_tensor_file(const fs::path& path) try {
  auto value = read_any(path);
  if (!value) return about(path, value.error());
  return value;
} catch (const std::exception&) {
  return about(path, {errc::io_failed, "there is not enough memory for its tensors"});
}

bool is_npy_path(const fs::path& path) {
  auto extension = path.extension().native();
  for (auto& letter : extension) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return extension == ".npy";
}

expected<void> write_tensor_file(const c10::IValue& value, const fs::path& path) {
  if (is_npy_path(path)) return write_npy(value, path);
  std::vector<char> bytes;
  try {
    bytes = torch::pickle_save(compact_tree(value));
  } catch (const std::exception&) {
    return failure{errc::invalid_argument,
                   fmt::format("'{}' cannot be written: torch.save's format has no place for {}",
                               path.native(), describe(value))};
  }
  return write_whole_file(
      path, [&](std::ostream& out) { out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())); });
}

}  // namespace ganglion

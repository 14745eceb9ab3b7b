#include "archive.hpp"

#include "storage_check.hpp"

#include <ganglion/model_io/replica.hpp>

#include <caffe2/serialize/inline_container.h>
#include <fmt/format.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cerrno>
#include <fstream>
#include <system_error>

#include <dlfcn.h>

namespace ganglion {

namespace fs = std::filesystem;
using caffe2::serialize::PyTorchStreamReader;

namespace {

void open_libraries(const std::vector<fs::path>& libraries) {
  for (const auto& library : libraries)
    // Never closed: operators stay registered for the life of the process.
    if (!dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL))
      throw error{errc::model_load_failed,
                  fmt::format("the operator library '{}' cannot be opened: {}", library.native(), dlerror())};
}

/// Says by its first bytes that a file is no archive at all.
void check_file(const fs::path& path) {
  std::error_code ec;
  const auto status = fs::status(path, ec);
  if (!fs::exists(status))
    throw load_error(path, fmt::format("cannot be read: {}", ec ? ec.message() : "no such file"));
  if (fs::is_directory(status)) throw load_error(path, "is a directory, not a model file");
  // To open a pipe would wait for its writer.
  if (!fs::is_regular_file(status)) throw load_error(path, "is a device, a pipe or a socket, not a model file");
  std::ifstream in{path, std::ios::binary};
  if (!in) throw load_error(path, fmt::format("cannot be read: {}", std::generic_category().message(errno)));
  char first[4] = {};
  in.read(first, sizeof first);
  const std::string_view begin{first, static_cast<std::size_t>(in.gcount())};
  if (begin.empty()) throw load_error(path, "is empty");
  if (begin.starts_with("\x80\x02"))
    throw load_error(
        path,
        "is a file of torch.save's old format, not a TorchScript module: write one with torch.jit.save");
  if (begin != "PK\x03\x04")
    throw load_error(path, "is not a TorchScript file: it does not begin as a zip archive");
}

/// Of a message like "... file with version 99, but the maximum supported version for reading is 10".
std::string version_in(std::string_view message) {
  constexpr std::string_view marker = "with version ";
  const auto at = message.find(marker);
  if (at == message.npos) return {};
  const auto digits = message.substr(at + marker.size());
  return std::string{digits.substr(0, digits.find_first_not_of("0123456789"))};
}

std::unique_ptr<PyTorchStreamReader> opened(const fs::path& path) {
  try {
    return std::make_unique<PyTorchStreamReader>(path.native());
  } catch (const std::exception& e) {
    const auto message = brief_message(e);
    if (const auto version = version_in(message); !version.empty())
      throw load_error(
          path, fmt::format("has version {} of the archive format, but this LibTorch reads {} to {}", version,
                            caffe2::serialize::kMinSupportedFileFormatVersion,
                            caffe2::serialize::kMaxSupportedFileFormatVersion));
    throw load_error(path, fmt::format("is truncated, damaged, or no archive of PyTorch ({})", message));
  }
}

std::string text_of(PyTorchStreamReader& reader, const std::string& record) {
  const auto [data, size] = reader.getRecord(record);
  return {static_cast<const char*>(data.get()), size};
}

/// Whether the code calls operators of torch-neuron, which exist on Inferentia machines only.
bool holds_neuron_code(PyTorchStreamReader& reader) {
  for (const auto& record : reader.getAllRecords())
    if (record.starts_with("code/") && record.ends_with(".py")) {
      const auto code = text_of(reader, record);
      if (code.find("ops.neuron.") != code.npos || code.find("classes.neuron.") != code.npos) return true;
    }
  return false;
}

archive read(const fs::path& path) {
  const auto reader = opened(path);
  if (!reader->hasRecord("constants.pkl"))
    throw load_error(
        path,
        "holds a tensor or another value that torch.save wrote, not a TorchScript module: write one with "
        "torch.jit.save");
  // Its tensors are described elsewhere, and LibTorch would read it in preference.
  if (reader->hasRecord("model.json"))
    throw load_error(path, "is of the first format of TorchScript: write it again with a newer torch.jit.save");
  if (auto good = check_storages(*reader); !good) throw load_error(path, good.error().text);
  archive result;
  if (const auto record = fmt::format("extra/{}", manifest_file); reader->hasRecord(record))
    result.manifest = text_of(*reader, record);
  try {
    result.module = torch::jit::load(path.native(), at::kCPU);
  } catch (const std::exception& e) {
    if (holds_neuron_code(*reader))
      throw load_error(
          path, fmt::format("holds Inferentia code (neuron:: operators): it loads only with the library that "
                            "registers them, named in load_options.op_libraries or with --op-library ({})",
                            brief_message(e)));
    throw load_error(path, fmt::format("cannot be read as a TorchScript module: {}", brief_message(e)));
  }
  return result;
}

}  // namespace

error load_error(const std::string& subject, const std::string& what) {
  return {errc::model_load_failed, fmt::format("{} {}", subject, what)};
}

error load_error(const fs::path& path, const std::string& what) {
  return load_error(fmt::format("'{}'", path.native()), what);
}

archive read_archive(const fs::path& path, const load_options& options) {
  open_libraries(options.op_libraries);
  check_file(path);
  try {
    return read(path);
  } catch (const error&) {
    throw;
  } catch (const std::exception& e) {
    throw load_error(path, fmt::format("is truncated or damaged ({})", brief_message(e)));
  }
}

}  // namespace ganglion

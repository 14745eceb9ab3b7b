#pragma once

#include <ganglion/model_io/model.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>
#include <support/modules.hpp>

#include <torch/csrc/jit/api/module.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

/// Files of models for the tests: what is in them, and how they are damaged.
namespace model_files {

inline std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  std::ostringstream all;
  all << in.rdbuf();
  return all.str();
}

inline void write(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream out{path, std::ios::binary};
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline ganglion::failure load_failure(const std::filesystem::path& path, ganglion::load_options options = {}) {
  return failure_of([&] { ganglion::load(path, std::move(options)); });
}

/// Puts other text of the same length into a file, wherever it stands.
inline void patch(const std::filesystem::path& path, const std::string& from, const std::string& to) {
  auto bytes = bytes_of(path);
  const auto at = bytes.find(from);
  REQUIRE(at != bytes.npos);
  write(path, bytes.replace(at, from.size(), to));
}

/// The archive of a module that carries a signature of the test's own.
inline void write_with_signature(const std::filesystem::path& path, const std::string& signature) {
  auto module = test_modules::plus_one();
  module.register_attribute("ganglion_signature", c10::StringType::get(), signature);
  module.save(path.string());
}

}  // namespace model_files

#include "command.hpp"

#include "utf8.hpp"

#include <ganglion/model_io/whole_file.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <ostream>
#include <unistd.h>

namespace ganglion::command {

namespace fs = std::filesystem;

namespace {

/// Sentences may quote what a user or a model wrote: a line stays one line.
std::string one_line(std::string_view text) {
  std::string line(text);
  std::replace_if(line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c == 127; }, ' ');
  return line;
}

bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code ec;
  if (fs::equivalent(a, b, ec) && !ec) return true;  // sees through links of both kinds
  const auto written_a = written_path(a), written_b = written_path(b);
  return written_a && written_b && *written_a == *written_b;
}

}  // namespace

void print_error(std::string_view code, std::string_view sentence) {
  print_stderr_line(fmt::format("ganglion: error[{}]: {}", code, one_line(sentence)));
}

void print_warning(std::string_view sentence) {
  print_stderr_line(fmt::format("ganglion: warning: {}", one_line(sentence)));
}

void flush_printed() {
  if (std::fflush(stdout) != 0) throw error(errc::io_failed, "what was to be printed could not be written to stdout");
}

void print_about(const fs::path& written, const std::function<void()>& print) {
  try {
    print();
    flush_printed();
  } catch (const std::exception&) {
    throw error(errc::io_failed,
                fmt::format("'{}' is written and whole, but what was to be printed could not be written "
                            "to stdout",
                            written.native()));
  }
}

void print_json(const boost::json::object& object) { fmt::print("{}\n", valid_utf8(boost::json::serialize(object))); }

boost::json::array specs_json(const std::vector<tensor_spec>& specs) {
  boost::json::array array;
  for (const auto& spec : specs)
    array.push_back(boost::json::object{{"name", spec.name},
                                        {"dtype", dtype_name(spec.dtype)},
                                        {"shape", boost::json::array(spec.shape.begin(), spec.shape.end())},
                                        {"spec", to_string(spec)}});
  return array;
}

boost::json::array strings_json(const std::vector<std::string>& strings) {
  boost::json::array array;
  for (const auto& string : strings) array.push_back(boost::json::string(string));
  return array;
}

void print_specs(std::string_view title, const std::vector<tensor_spec>& specs) {
  for (std::size_t i = 0; i < specs.size(); ++i)
    fmt::print("{:<17} {}{}{}\n", i == 0 ? title : "", specs[i].name, specs[i].name.empty() ? "" : ": ",
               to_string(specs[i]));
}

engine_options command_engine_options() {
  engine_options options;
  options.log = [](log_level level, std::string_view sentence) {
    if (level == log_level::warning) print_warning(sentence);
  };
  return options;
}

std::vector<fs::path> files_of(const std::string& model, const load_options& loading) {
  auto files = loading.op_libraries;
  files.emplace_back(model);
  return files;
}

compiled_model load_with_progress(const std::string& model, const load_options& loading) {
  progress_line progress([&] { return fmt::format("loading {}", model); });
  return load(model, loading);
}

void check_output_path(const fs::path& output, const std::vector<fs::path>& sources) {
  for (const auto& source : sources)
    if (same_file(output, source))
      throw error(errc::invalid_argument,
                  fmt::format("the output '{}' is the file '{}', which is read: name another output", output.native(),
                              source.native()));
  if (output.empty()) throw error(errc::io_failed, "the output's path is empty: name a file");
  std::error_code ec;
  auto folder = fs::absolute(output, ec).parent_path();
  if (!fs::is_directory(folder, ec))
    throw error(errc::io_failed,
                fmt::format("'{}' cannot be written: {} '{}'", output.native(),
                            fs::exists(folder, ec) ? "no folder, but a file, is" : "there is no folder",
                            folder.native()));
  check_whole_file(output).value();
}

void check_output_paths(const std::vector<fs::path>& outputs, const std::vector<fs::path>& sources) {
  for (auto output = outputs.begin(); output != outputs.end(); ++output) {
    if (output->empty()) continue;
    check_output_path(*output, sources);
    for (auto other = outputs.begin(); other != output; ++other)
      if (!other->empty() && same_file(*output, *other))
        throw error(errc::invalid_argument,
                    fmt::format("the outputs '{}' and '{}' are one file: name two", other->native(), output->native()));
  }
}

void write_picture(const fs::path& path, const std::string& svg) {
  write_whole_file(path, [&](std::ostream& file) { file << valid_utf8(svg); }).value();
}

void warnings_once::print(std::string_view sentence) {
  std::lock_guard lock(mutex_);
  if (said_.emplace(sentence).second) print_warning(sentence);
}

void refuse_more_than_memory(std::string_view what, double bytes, std::string_view advice) {
  const auto memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (bytes > memory)
    throw error(errc::invalid_argument, fmt::format("{} takes {:.3g} GiB, but this machine has {:.3g} GiB: {}", what,
                                                    bytes / (1 << 30), memory / (1 << 30), advice));
}

}  // namespace ganglion::command

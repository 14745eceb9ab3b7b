#pragma once

#include "counted.hpp"
#include "progress_line.hpp"

#include <ganglion/engine/data_parallel.hpp>
#include <ganglion/engine/engine.hpp>
#include <ganglion/model_io/error.hpp>
#include <ganglion/model_io/model.hpp>
#include <ganglion/model_io/tensor_spec.hpp>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// What the verbs of the `ganglion` command share.
///
/// A verb is one source file with one function, `add_<verb>(app)`: it adds a subcommand whose options are bound to a
/// struct on the heap and whose callback does the work. The callback runs inside `CLI::App::parse`. It throws what went
/// wrong, `ganglion::error` (exit status 1) or `usage_error` (2), and `main` reports it: a verb neither prints an error
/// nor exits.
namespace ganglion::command {

void add_cores(CLI::App& app);
void add_trace(CLI::App& app);
void add_info(CLI::App& app);
void add_run(CLI::App& app);
void add_bench(CLI::App& app);
void add_tune(CLI::App& app);

/// The command line cannot be read: exit status 2. One sentence without a full stop, like `ganglion::error`.
class usage_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A process of its own did the work, failed, and has said why: this one ends with its exit status.
struct said_already {
  int exit_status;
};

// -- printing --------------------------------------------------------------------------------------------------------

/// `ganglion: error[code]: sentence` and `ganglion: warning: sentence`, one line each on stderr. Any thread.
void print_error(std::string_view code, std::string_view sentence);
void print_warning(std::string_view sentence);

/// Everything printed so far is on stdout, or `io_failed`.
void flush_printed();
/// Prints about a file that was just written. A run that cannot say what it did has failed, but the file stays: it is
/// whole, and the one before it is gone.
void print_about(const std::filesystem::path& written, const std::function<void()>& print);

/// One JSON object on stdout, on one line, in UTF-8 whatever bytes its strings have.
void print_json(const boost::json::object& object);

/// `[{"name": "x", "dtype": "f32", "shape": [1, 3], "spec": "f32[1,3]"}, ...]`
boost::json::array specs_json(const std::vector<tensor_spec>& specs);
boost::json::array strings_json(const std::vector<std::string>& strings);

/// For people: one line a tensor, the title in front of the first; and all that is known of a model.
void print_specs(std::string_view title, const std::vector<tensor_spec>& specs);
void print_model(const compiled_model& model);

// -- options ---------------------------------------------------------------------------------------------------------

/// A required positional MODEL.
CLI::Option* add_model(CLI::App& verb, std::string& path);

/// An option that takes one whole number in decimal digits, with a sign or without, also as a word of its own
/// (`--dim -1`). Text is a `usage_error`; a number that no 64 bits hold is `invalid_argument`.
CLI::Option* add_integer(CLI::App& verb, const std::string& name, std::optional<std::int64_t>& value,
                         const std::string& help);

/// An option that takes one finite number (`100`, `0.5`, `1e3`). Text is a `usage_error`.
CLI::Option* add_number(CLI::App& verb, const std::string& name, std::optional<double>& value,
                        const std::string& help);

/// An option that takes a finite number each time that it is given. Text is a `usage_error`.
CLI::Option* add_numbers(CLI::App& verb, const std::string& name, std::vector<double>& values,
                         const std::string& help);

/// `--device-ids nc:0,1`: items of decimal digits are ints. Unset: empty.
CLI::Option* add_device_ids(CLI::App& verb, std::vector<device_id>& ids);

/// `--op-library FILE`, once or more often: a path, also where it has no slash. Unset: empty.
CLI::Option* add_op_libraries(CLI::App& verb, load_options& options);

/// `--max-deviation`, with the default that the help tells of, and `--calibration`.
void add_bf16_bounds(CLI::App& verb, std::optional<double>& max_deviation, std::vector<std::string>& calibration,
                     const std::string& default_deviation);

/// `--retune`.
CLI::Option* add_retune(CLI::App& verb, load_options& options);

/// `--trace-out FILE`.
CLI::Option* add_trace_out(CLI::App& verb, std::string& path);

/// `--json`.
CLI::Option* add_json(CLI::App& verb, bool& json);

// -- work ------------------------------------------------------------------------------------------------------------

/// The options of every engine that the command makes: warnings go through `print_warning`.
engine_options command_engine_options();

/// All files of a model that are read: its own and its operator libraries.
std::vector<std::filesystem::path> files_of(const std::string& model, const load_options& loading);

/// `load`, with a line of progress. Errors as there.
compiled_model load_with_progress(const std::string& model, const load_options& loading);

/// Refuses, as `invalid_argument`, an output that is one of the sources (also through a link), and, as `io_failed`, one
/// that cannot be written: before any work is done.
void check_output_path(const std::filesystem::path& output, const std::vector<std::filesystem::path>& sources);
/// The same for all that are named (an empty one is none), and refuses two that are one file.
void check_output_paths(const std::vector<std::filesystem::path>& outputs,
                        const std::vector<std::filesystem::path>& sources);

/// Writes a picture, whole or not at all. Errors, thrown: `io_failed`.
void write_picture(const std::filesystem::path& path, const std::string& svg);

/// Prints each warning once, whoever says it how often. Any thread.
class warnings_once {
 public:
  void print(std::string_view sentence);

 private:
  std::mutex mutex_;
  std::set<std::string, std::less<>> said_;
};

/// Refuses, as `invalid_argument`, what this machine could never hold, before LibTorch's allocator is asked for it.
void refuse_more_than_memory(std::string_view what, double bytes, std::string_view advice);

}  // namespace ganglion::command

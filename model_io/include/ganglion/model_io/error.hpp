#pragma once

#include <boost/system/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace ganglion {

/// The stable codes of everything that can go wrong. Each has a name, a retryable flag and a row in docs/errors.md.
/// The numbers are part of the wire format: append, never renumber.
enum class errc : std::uint8_t {
  ok = 0,
  invalid_argument,
  invalid_device_id,
  core_unavailable,
  dim_out_of_range,
  shape_mismatch,
  batch_size_mismatch,
  gather_mismatch,
  unsupported_model,
  model_load_failed,
  core_memory_exceeded,
  forward_failed,
  core_lost,
  queue_full,
  deadline_exceeded,
  cancelled,
  draining,
  io_failed,
};

/// The number of codes, `ok` included.
inline constexpr std::size_t errc_count = static_cast<std::size_t>(errc::io_failed) + 1;

/// The code's name, as the command prints it: `batch_size_mismatch`.
std::string_view to_string(errc code) noexcept;

/// Whether the same call may succeed later without a change: `core_lost`, `queue_full`, `core_unavailable`, `draining`.
bool retryable(errc code) noexcept;

const std::error_category& error_category() noexcept;
std::error_code make_error_code(errc code) noexcept;

/// An error as a value: how it travels inside the actors, where nothing is thrown.
struct failure {
  errc code = errc::ok;
  /// One sentence with the names and numbers involved and what to do about it.
  std::string text;
  /// The rows [first_row, last_row) of the request that the failure is about; both -1 where it is about the whole.
  std::int64_t first_row = -1;
  std::int64_t last_row = -1;
  /// The per-process index of the core on which it happened; -1 where no core was involved.
  std::int32_t core = -1;

  friend bool operator==(const failure&, const failure&) = default;
};

/// A value or the failure that took its place.
template <class T>
using expected = boost::system::result<T, failure>;

/// The one exception type that leaves Ganglion. `what()` is the sentence, `code()` compares with `errc`.
class error : public std::system_error {
 public:
  error(errc code, const std::string& text);
  explicit error(ganglion::failure f);

  /// The sentence alone; `what()` says the same.
  const char* what() const noexcept override { return failure_.text.c_str(); }
  const ganglion::failure& failure() const noexcept { return failure_; }
  bool retryable() const noexcept { return ganglion::retryable(failure_.code); }

 private:
  ganglion::failure failure_;
};

/// Lets `expected<T>::value()` throw `ganglion::error`.
[[noreturn]] void throw_exception_from_error(const failure& f, const boost::source_location&);

}  // namespace ganglion

template <>
struct std::is_error_code_enum<ganglion::errc> : std::true_type {};

#include <ganglion/model_io/error.hpp>

#include <array>

namespace ganglion {

namespace {

struct code_row {
  errc code;
  std::string_view name;
  bool retryable;
};

constexpr std::array<code_row, errc_count> code_table{{
    {errc::ok, "ok", false},
    {errc::invalid_argument, "invalid_argument", false},
    {errc::invalid_device_id, "invalid_device_id", false},
    {errc::core_unavailable, "core_unavailable", true},
    {errc::dim_out_of_range, "dim_out_of_range", false},
    {errc::shape_mismatch, "shape_mismatch", false},
    {errc::batch_size_mismatch, "batch_size_mismatch", false},
    {errc::gather_mismatch, "gather_mismatch", false},
    {errc::unsupported_model, "unsupported_model", false},
    {errc::model_load_failed, "model_load_failed", false},
    {errc::core_memory_exceeded, "core_memory_exceeded", false},
    {errc::forward_failed, "forward_failed", false},
    {errc::core_lost, "core_lost", true},
    {errc::queue_full, "queue_full", true},
    {errc::deadline_exceeded, "deadline_exceeded", false},
    {errc::cancelled, "cancelled", false},
    {errc::draining, "draining", true},
    {errc::io_failed, "io_failed", false},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < code_table.size(); ++i)
    if (static_cast<std::size_t>(code_table[i].code) != i || code_table[i].name.empty()) return false;
  return true;
}
static_assert(in_order(), "one row for each code, in the order of the enumeration");

const code_row& row_of(errc code) noexcept {
  auto index = static_cast<std::size_t>(code);
  return code_table[index < code_table.size() ? index : static_cast<std::size_t>(errc::invalid_argument)];
}

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "ganglion"; }
  std::string message(int value) const override { return std::string{to_string(static_cast<errc>(value))}; }
};

}  // namespace

std::string_view to_string(errc code) noexcept { return row_of(code).name; }

bool retryable(errc code) noexcept { return row_of(code).retryable; }

const std::error_category& error_category() noexcept {
  static const category instance;
  return instance;
}

std::error_code make_error_code(errc code) noexcept { return {static_cast<int>(code), error_category()}; }

error::error(errc code, const std::string& text) : error(ganglion::failure{code, text}) {}

error::error(ganglion::failure f)
    : std::system_error(make_error_code(f.code), f.text), failure_(std::move(f)) {}

void throw_exception_from_error(const failure& f, const boost::source_location&) { throw error(f); }

}  // namespace ganglion

#include <ganglion/model_io/tensor_spec.hpp>

#include "raw_tensor.hpp"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>
#include <utility>

namespace ganglion {

namespace {

constexpr std::array<std::pair<at::ScalarType, std::string_view>, 10> short_names{{
    {at::kFloat, "f32"},
    {at::kDouble, "f64"},
    {at::kHalf, "f16"},
    {at::kBFloat16, "bf16"},
    {at::kChar, "i8"},
    {at::kShort, "i16"},
    {at::kInt, "i32"},
    {at::kLong, "i64"},
    {at::kByte, "u8"},
    {at::kBool, "bool"},
}};

constexpr std::string_view bad_sizes = "its sizes must be positive whole numbers, separated by commas";
constexpr std::string_view too_large = "is no tensor: its sizes are too large for any machine; give smaller ones";

/// Reads `1,3,224]`, all of it, or says what is wrong.
boost::system::result<std::vector<std::int64_t>, std::string_view> parse_sizes(std::string_view text) {
  std::vector<std::int64_t> sizes;
  if (text == "]") return sizes;
  while (true) {
    std::int64_t size = 0;
    auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), size);
    if (ec == std::errc::result_out_of_range && !text.starts_with('-')) return too_large;
    if (ec != std::errc{} || size <= 0) return bad_sizes;
    sizes.push_back(size);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (text == "]") return sizes;
    if (!text.starts_with(',')) return bad_sizes;
    text.remove_prefix(1);
  }
}

}  // namespace

std::string dtype_name(at::ScalarType dtype) {
  for (const auto& [type, name] : short_names)
    if (type == dtype) return std::string{name};
  if (dtype == at::kComplexFloat) return "c64";
  if (dtype == at::kComplexDouble) return "c128";
  return c10::toString(dtype);
}

expected<at::ScalarType> parse_dtype(std::string_view text) {
  for (const auto& [type, name] : short_names)
    if (name == text) return type;
  return failure{
      errc::invalid_argument,
      fmt::format(
          "'{}' is no element type: it must be one of f32, f64, f16, bf16, i8, i16, i32, i64, u8, bool",
          text)};
}

std::string to_string(const tensor_spec& spec) { return to_string(spec.dtype, spec.shape); }

std::string to_string(at::ScalarType dtype, at::IntArrayRef shape) {
  return fmt::format("{}[{}]", dtype_name(dtype), fmt::join(shape.begin(), shape.end(), ","));
}

expected<tensor_spec> parse_tensor_spec(std::string_view text) {
  auto refused = [&](std::string_view why) {
    constexpr std::size_t most = 100;
    return failure{errc::invalid_argument,
                   fmt::format("'{}{}' {}", text.substr(0, most), text.size() > most ? "..." : "", why)};
  };
  auto malformed = [&](std::string_view why) {
    return refused(fmt::format("is no tensor specification: {}; write it like f32[1,3,224,224]", why));
  };
  auto bracket = text.find('[');
  if (bracket == std::string_view::npos) return malformed("it has no sizes in brackets");
  auto dtype = parse_dtype(text.substr(0, bracket));
  if (!dtype) return malformed(dtype.error().text);
  auto sizes = parse_sizes(text.substr(bracket + 1));
  if (!sizes) return sizes.error() == too_large ? refused(too_large) : malformed(sizes.error());
  if (sizes->size() > max_rank)
    return malformed(fmt::format("it has {} dimensions, but at most {} are possible", sizes->size(), max_rank));
  if (!raw_bytes(*dtype, *sizes)) return refused(too_large);
  return tensor_spec{*dtype, std::move(*sizes), {}};
}

tensor_spec spec_of(const at::Tensor& tensor, std::string name) {
  return {tensor.scalar_type(), tensor.sizes().vec(), std::move(name)};
}

bool has_its_values(const at::Tensor& tensor) {
  if (tensor.numel() == 0 || tensor._is_zerotensor()) return true;
  if (!tensor.has_storage() || tensor.storage().data() == nullptr) return false;
  return tensor.storage().nbytes() >=
         at::detail::computeStorageNbytes(tensor.sizes(), tensor.strides(), tensor.itemsize(),
                                          static_cast<std::size_t>(tensor.storage_offset()));
}

at::Tensor random_tensor(const tensor_spec& spec, std::uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  auto options = at::TensorOptions().dtype(spec.dtype);
  if (spec.dtype == at::kBool)
    return at::randint(2, spec.shape, generator, options.dtype(at::kByte)).to(at::kBool);
  if (at::isIntegralType(spec.dtype, /*includeBool=*/false))
    return at::randint(10, spec.shape, generator, options);
  return at::rand(spec.shape, generator, options);
}

}  // namespace ganglion

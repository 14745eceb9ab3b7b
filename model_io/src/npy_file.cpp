#include "npy_file.hpp"

#include "raw_tensor.hpp"

#include <ganglion/model_io/tensor_spec.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace ganglion {

static_assert(std::endian::native == std::endian::little,
              "arrays are read and written as they are in memory");

namespace {

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 11> npy_dtypes{{
    {"<f2", at::kHalf},
    {"<f4", at::kFloat},
    {"<f8", at::kDouble},
    {"|i1", at::kChar},
    {"<i2", at::kShort},
    {"<i4", at::kInt},
    {"<i8", at::kLong},
    {"|u1", at::kByte},
    {"|b1", at::kBool},
    {"<c8", at::kComplexFloat},
    {"<c16", at::kComplexDouble},
}};

/// NumPy itself refuses headers of more than 10,000 bytes.
constexpr std::uint64_t longest_header = 65536;

failure refuse(std::string why) { return {errc::invalid_argument, std::move(why)}; }

struct npy_description {
  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

/// Reads the header's Python dict, of which NumPy writes always the same three keys, in any order.
class header_parser {
 public:
  explicit header_parser(std::string_view text) : rest_(text) {}

  /// Why there is no description.
  const std::string& problem() const { return problem_; }

  std::optional<npy_description> parse() {
    npy_description result;
    bool seen_descr = false, seen_order = false, seen_shape = false;
    if (!take("{")) return {};
    while (!take("}")) {
      auto key = quoted();
      if (!key || !take(":")) return {};
      if (*key == "descr" && !std::exchange(seen_descr, true)) {
        auto descr = quoted();
        if (!descr) return {};
        result.descr = *descr;
      } else if (*key == "fortran_order" && !std::exchange(seen_order, true)) {
        result.fortran_order = take("True");
        if (!result.fortran_order && !take("False")) return {};
      } else if (*key == "shape" && !std::exchange(seen_shape, true)) {
        auto shape = sizes();
        if (!shape) return {};
        result.shape = std::move(*shape);
      } else {
        return {};
      }
      if (!take(",") && !rest_.starts_with('}')) return {};
    }
    skip_space();
    if (!rest_.empty() || !seen_descr || !seen_order || !seen_shape) return {};
    return result;
  }

 private:
  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\r\n"), rest_.size())); }

  /// Takes the token and the space on both sides of it.
  bool take(std::string_view token) {
    skip_space();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    skip_space();
    return true;
  }

  std::optional<std::string> quoted() {
    skip_space();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) return {};
    auto end = rest_.find(rest_[0], 1);
    if (end == std::string_view::npos) return {};
    std::string text{rest_.substr(1, end - 1)};
    rest_.remove_prefix(end + 1);
    return text;
  }

  std::optional<std::vector<std::int64_t>> sizes() {
    std::vector<std::int64_t> result;
    if (!take("(")) return {};
    while (!take(")")) {
      std::int64_t size = -1;
      auto [end, ec] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (ec == std::errc::invalid_argument) return {};
      if (ec != std::errc{} || size < 0) {
        problem_ = fmt::format("its header declares the size {}, which is {}", std::string_view(rest_.data(), end),
                               ec != std::errc{} ? "more than 64 bits hold" : "negative");
        return {};
      }
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      result.push_back(size);
      if (!take(",") && !rest_.starts_with(')')) return {};
    }
    return result;
  }

  std::string_view rest_;
  std::string problem_ = "its header is malformed, or it is no plain array of numbers";
};

expected<at::ScalarType> dtype_of(const std::string& descr) {
  for (const auto& [name, dtype] : npy_dtypes)
    if (descr == name ||
        (name.starts_with('|') && descr.starts_with('<') && name.substr(1) == descr.substr(1)))
      return dtype;
  if (descr.starts_with('>'))
    return refuse(
        fmt::format("its elements are big-endian ('{}'): save it as little-endian, with array.astype('<{}')",
                    descr, descr.substr(1)));
  return refuse(
      fmt::format("its elements are of NumPy's type '{}', of which there are no tensors: save it as one of "
                  "<f2, <f4, <f8, |i1, <i2, <i4, <i8, |u1, |b1",
                  descr));
}

/// Reads up to the header's end. Gives the header's text and the number of bytes before the array.
expected<std::pair<std::string, std::uint64_t>> read_header(std::istream& in, std::uint64_t size) {
  std::array<char, 12> start{};
  in.read(start.data(), 8);
  int version = start[6];
  if (!in || std::string_view(start.data(), npy_magic.size()) != npy_magic)
    return refuse("it is no .npy file");
  if (version < 1 || version > 3)
    return refuse(fmt::format("it is of .npy version {}, but only 1 to 3 are known",
                              static_cast<unsigned char>(start[6])));
  std::uint64_t length_bytes = version == 1 ? 2 : 4;
  std::uint32_t length = 0;
  in.read(start.data() + 8, static_cast<std::streamsize>(length_bytes));
  std::memcpy(&length, start.data() + 8, length_bytes);
  std::uint64_t data_start = 8 + length_bytes + length;
  if (!in || data_start > size)
    return refuse(fmt::format("it ends within its header, after {} bytes: it is truncated", size));
  if (length > longest_header) return refuse(fmt::format("its header of {} bytes is too long", length));
  std::string text(length, '\0');
  in.read(text.data(), length);
  if (!in) return refuse("its header cannot be read");
  return std::pair{std::move(text), data_start};
}

std::vector<std::int64_t> reversed_dims(std::int64_t rank) {
  std::vector<std::int64_t> dims(static_cast<std::size_t>(rank));
  std::iota(dims.rbegin(), dims.rend(), 0);
  return dims;
}

}  // namespace

expected<at::Tensor> read_npy(std::istream& in, std::uint64_t size) {
  auto header = read_header(in, size);
  if (!header) return header.error();
  header_parser parser(header->first);
  auto description = parser.parse();
  if (!description) return refuse(parser.problem());
  auto dtype = dtype_of(description->descr);
  if (!dtype) return dtype.error();

  auto& shape = description->shape;
  auto bytes = raw_bytes(*dtype, shape);
  auto shape_text = fmt::format("{}[{}]", dtype_name(*dtype), short_list(shape));
  if (!bytes) return refuse(fmt::format("its header declares impossible sizes: {}", shape_text));
  auto there = size - header->second;
  if (there != *bytes)
    return refuse(fmt::format("its header declares {}, which is {} bytes, but {} follow: it is {}",
                              shape_text, *bytes, there,
                              there < *bytes ? "truncated" : "damaged, or holds several arrays"));

  if (description->fortran_order) std::reverse(shape.begin(), shape.end());
  auto tensor = at::empty(shape, at::TensorOptions().dtype(*dtype));
  auto* data = static_cast<char*>(tensor.data_ptr());
  in.read(data, static_cast<std::streamsize>(*bytes));
  if (!in) return failure{errc::io_failed, "its elements cannot be read"};
  if (*dtype == at::kBool) tidy_bools(data, *bytes);
  return description->fortran_order ? tensor.permute(reversed_dims(tensor.dim())).contiguous() : tensor;
}

expected<std::string> npy_header(at::ScalarType dtype, at::IntArrayRef shape) {
  auto row =
      std::find_if(npy_dtypes.begin(), npy_dtypes.end(), [&](const auto& r) { return r.second == dtype; });
  if (row == npy_dtypes.end())
    return refuse(fmt::format("NumPy has no element type {}: write a .pt file, or convert the result first",
                              dtype_name(dtype)));
  auto dict = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", row->first,
                          fmt::join(shape.begin(), shape.end(), ", "), shape.size() == 1 ? "," : "");
  constexpr std::size_t before = 10;
  constexpr std::size_t alignment = 64;
  dict.append(alignment - 1 - (before + dict.size()) % alignment, ' ');
  dict += '\n';
  auto length = static_cast<std::uint16_t>(dict.size());
  std::string header{npy_magic};
  header += {'\1', '\0', static_cast<char>(length & 0xff), static_cast<char>(length >> 8)};
  return header + dict;
}

}  // namespace ganglion

#pragma once

#include <ATen/core/jit_type.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ganglion {

static_assert(std::endian::native == std::endian::little,
              "the wire is little-endian, and bytes are copied as they are");

/// How deep values and types may nest on the wire: the reader recurses, and the bytes may be a stranger's.
inline constexpr int max_wire_depth = 64;

/// Appends numbers and strings to bytes. `fail` keeps the first sentence that it is told.
class wire_writer {
 public:
  template <class Number>
  void put(Number number) {
    put_bytes({reinterpret_cast<const char*>(&number), sizeof(number)});
  }
  void put_bytes(std::span<const char> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  void put_string(std::string_view text) {
    put(static_cast<std::uint64_t>(text.size()));
    put_bytes(text);
  }

  void fail(std::string why) {
    if (ok()) why_ = std::move(why);
  }
  bool ok() const { return why_.empty(); }
  const std::string& why() const { return why_; }
  std::vector<char> take() { return std::move(bytes_); }

 private:
  std::vector<char> bytes_;
  std::string why_;
};

/// Reads what `wire_writer` wrote. After a failure every read gives a zero or nothing, and no read passes the
/// end.
class wire_reader {
 public:
  explicit wire_reader(std::span<const char> bytes) : rest_(bytes) {}

  template <class Number>
  Number get() {
    Number number{};
    auto bytes = get_bytes(sizeof(number));
    if (!bytes.empty()) std::memcpy(&number, bytes.data(), sizeof(number));
    return number;
  }

  std::span<const char> get_bytes(std::size_t size) {
    if (ok() && size > rest_.size()) fail("the bytes end too early");
    if (!ok()) return {};
    auto bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return bytes;
  }

  std::string get_string() {
    auto bytes = get_bytes(get<std::uint64_t>());
    return {bytes.begin(), bytes.end()};
  }

  /// A number of things that follow, of at least one byte each.
  std::size_t get_count() {
    auto count = get<std::uint64_t>();
    if (ok() && count > rest_.size()) fail("there are fewer bytes than elements");
    return ok() ? static_cast<std::size_t>(count) : 0;
  }

  void fail(std::string why) {
    if (ok()) why_ = std::move(why);
  }
  bool ok() const { return why_.empty(); }
  const std::string& why() const { return why_; }
  std::size_t remaining() const { return rest_.size(); }

 private:
  std::span<const char> rest_;
  std::string why_;
};

/// The types that containers carry. Types that cannot travel fail the writer; unknown ones fail the reader,
/// which then returns the type of anything.
void put_type(wire_writer& out, const c10::TypePtr& type, int depth);
c10::TypePtr get_type(wire_reader& in, int depth);

/// The types of a dict's keys, which are strings or ints, and of its values.
void put_dict_types(wire_writer& out, const c10::TypePtr& key, const c10::TypePtr& value, int depth);
std::pair<c10::TypePtr, c10::TypePtr> get_dict_types(wire_reader& in, int depth);

}  // namespace ganglion

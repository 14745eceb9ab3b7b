// Device ids: which are refused, and what the accepted ones stand for. The input: how many cores are visible (2 bytes),
// then ids between commas as a command line gives them; an id that begins with `=` is an int of the bytes behind it.
#include "fuzz.hpp"

#include <ganglion/engine/device_id.hpp>

#include <algorithm>
#include <cstring>
#include <set>

using namespace ganglion;
using fuzz::require;

namespace {

device_id id_of(const std::string& item) {
  if (!item.starts_with('=')) return device_id::parse_command_line_item(item);
  int number = 0;
  std::memcpy(&number, item.data() + 1, std::min(sizeof number, item.size() - 1));
  return number;
}

/// Whether a text names a core as the documentation says: `nc:` and decimal digits without a leading zero.
bool is_name(std::string_view text) {
  if (!text.starts_with("nc:")) return false;
  text.remove_prefix(3);
  bool digits = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits && (text.size() == 1 || text.front() != '0');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  test::choices choices{{data, size}};
  auto visible = choices.below(1 << 16);
  auto text = fuzz::text_of(choices.rest());
  std::vector<device_id> ids;
  if (!text.empty())
    for (const auto& item : fuzz::split(text, ',')) {
      ids.push_back(id_of(item));
      if (ids.back().to_string().starts_with('"'))
        require(ids.back().index().has_value() == is_name(item), "a text has an index exactly where it is a name");
    }

  std::set<std::size_t> named;
  bool good = std::all_of(ids.begin(), ids.end(), [&](const device_id& id) {
    auto index = id.index();
    return index && *index < visible && named.insert(*index).second;
  });
  auto indices = resolve_device_ids(ids, visible);
  require(indices.has_value() == good, "ids resolve exactly where each names another visible core");
  if (!indices) {
    const auto& why = indices.error();
    require(why.code == errc::invalid_device_id, "the code is invalid_device_id");
    auto quotes = [&](const device_id& id) { return why.text.find(id.to_string()) != std::string::npos; };
    require(std::any_of(ids.begin(), ids.end(), quotes), "the sentence quotes the id");
    return 0;
  }
  require(indices->size() == (ids.empty() ? visible : ids.size()), "there are as many cores as ids, or all");
  for (std::size_t i = 0; i < indices->size(); ++i)
    require((*indices)[i] == (ids.empty() ? i : *ids[i].index()), "cores come in the order of the ids");
  return 0;
}

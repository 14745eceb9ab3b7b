#include <ganglion/engine/device_id.hpp>

#include <support/doctest.hpp>
#include <support/errors.hpp>

#include <limits>
#include <map>
#include <random>
#include <set>

using namespace ganglion;

namespace {

std::vector<std::size_t> indices(const std::vector<device_id>& ids, std::size_t visible) {
  auto found = resolve_device_ids(ids, visible);
  REQUIRE(found.has_value());
  return *found;
}

std::string refusal(const std::vector<device_id>& ids, std::size_t visible) {
  auto found = resolve_device_ids(ids, visible);
  REQUIRE(found.has_error());
  EXPECT(found.error().code == errc::invalid_device_id);
  return found.error().text;
}

}  // namespace

TEST_CASE("no device ids stand for every visible core") {
  EXPECT(indices({}, 3) == std::vector<std::size_t>{0, 1, 2});
  EXPECT(indices({}, 0).empty());
}

TEST_CASE("ints and names mix, and their order is kept") {
  EXPECT(indices({2, "nc:0", std::string{"nc:3"}, 1}, 4) == std::vector<std::size_t>{2, 0, 3, 1});
}

TEST_CASE("a list of one int or one name in braces is a list of device ids") {
  std::vector<device_id> ids = {0};
  EXPECT(indices(ids, 2) == std::vector<std::size_t>{0});
  ids = {"nc:1"};
  EXPECT(indices(ids, 2) == std::vector<std::size_t>{1});
  ids = {"nc:1", "nc:0"};
  EXPECT(indices(ids, 2) == std::vector<std::size_t>{1, 0});
}

TEST_CASE("an index that no int holds is refused, and not cut to one that it holds") {
  for (const auto index : {std::int64_t{1} << 32, -(std::int64_t{1} << 32)}) {
    std::vector<device_id> ids;
    ids.emplace_back(index);
    const auto refused = resolve_device_ids(ids, 2);
    REQUIRE(refused.has_error());
    EXPECT(refused.error().code == errc::invalid_device_id);
    EXPECT(contains(refused.error().text, std::to_string(index)));
  }
  EXPECT(device_id(std::uint8_t{1}).index() == 1u);
}

TEST_CASE("a device id that names no core is refused with its value and the number of visible cores") {
  for (const char* name :
       {"nc:-1", "NC:0", "cuda:0", "0", "nc:", "nc:01x", "nc: 1", " nc:1", "nc:1 ", "nc:+1", "nc:0x1",
        "nc:01", "nc:00", "nc:1,nc:2", "nc", "", "nc:1.0", "nc:99999999999999999999999"}) {
    NOTE(name);
    auto text = refusal({name}, 4);
    EXPECT(contains(text, '"' + std::string{name} + '"'));
    EXPECT(contains(text, "4 NeuronCores are visible"));
  }
  EXPECT(refusal({std::string("nc:1\0", 5)}, 4).find("\"nc:1\\x00\"") != std::string::npos);
  for (int index : {-1, 4, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()}) {
    auto text = refusal({index}, 4);
    EXPECT(contains(text, "device id " + std::to_string(index) + " "));
    EXPECT(contains(text, "4 NeuronCores are visible"));
  }
  EXPECT(contains(refusal({0}, 0), "no NeuronCore is visible"));
  EXPECT(contains(refusal({1}, 1), "1 NeuronCore is visible"));
}

TEST_CASE("a number of the command line that no host has is said to be no visible core") {
  for (const char* item : {"4294967296", "99999999999999999999999", "-1", "7"}) {
    NOTE(item);
    EXPECT(contains(refusal({device_id::parse_command_line_item(item)}, 4), "is not a visible core; 4 NeuronCores"));
  }
  EXPECT(contains(refusal({device_id{"3"}}, 4), "is neither a core's index nor a name"));
}

TEST_CASE("a message about a device id stays on one line") {
  EXPECT_FALSE(contains(refusal({"nc:0\n"}, 1), "\n"));
}

TEST_CASE("a core that is named twice is refused, whichever way it is written") {
  EXPECT(contains(refusal({0, 1, 0}, 2), "core 0 a second time"));
  EXPECT(contains(refusal({1, "nc:1"}, 2), "\"nc:1\" names core 1 a second time"));
}

TEST_CASE("on the command line decimal digits are an int and everything else is a name") {
  EXPECT(device_id::parse_command_line_item("3") == device_id{3});
  EXPECT(device_id::parse_command_line_item("03") == device_id{3});
  EXPECT(device_id::parse_command_line_item("2147483647") == device_id{2147483647});
  for (const char* name : {"nc:3", "-1", "", "+1", " 1", "2147483648", "99999999999999999999999"}) {
    NOTE(name);
    EXPECT(device_id::parse_command_line_item(name) == device_id{name});
  }
}

TEST_CASE("any text is either exactly a core's name or refused") {
  std::mt19937 random{20260101};
  const std::string alphabet = "nc:0123456789 -+xNC";
  std::map<std::string, std::size_t> names;
  for (std::size_t index = 0; index < 100; ++index) names["nc:" + std::to_string(index)] = index;
  std::size_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = random() % 4 ? "nc:" : "";
    for (auto length = random() % 4; length > 0; --length) text += alphabet[random() % alphabet.size()];
    NOTE(text);
    auto found = resolve_device_ids(std::vector<device_id>{text}, 100);
    auto name = names.find(text);
    EXPECT(found.has_value() == (name != names.end()));
    if (name == names.end() || !found) continue;
    ++accepted;
    EXPECT(*found == std::vector<std::size_t>{name->second});
  }
  EXPECT(accepted > 100);
}

TEST_CASE(
    "any list of ints resolves to itself or is refused for a value that is no visible core or occurs twice") {
  std::mt19937 random{7};
  for (int round = 0; round < 5000; ++round) {
    std::size_t visible = random() % 6;
    std::vector<device_id> ids;
    std::vector<std::size_t> expected_indices;
    std::set<int> distinct;
    bool good = true;
    for (auto count = 1 + random() % 4; count > 0; --count) {
      int index = static_cast<int>(random() % 8) - 1;
      good = good && index >= 0 && static_cast<std::size_t>(index) < visible && distinct.insert(index).second;
      expected_indices.push_back(static_cast<std::size_t>(index));
      ids.emplace_back(random() % 2 ? device_id{index} : device_id{"nc:" + std::to_string(index)});
    }
    auto found = resolve_device_ids(ids, visible);
    EXPECT(found.has_value() == good);
    if (found && good) EXPECT(*found == expected_indices);
  }
}

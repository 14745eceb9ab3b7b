#include "examples.hpp"

#include "command.hpp"

#include <ganglion/model_io/tensor_file.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <numeric>
#include <regex>

namespace ganglion::command {

namespace {

/// Whether it can be read, though it may be no tensor of any machine.
bool is_written_like_a_spec(const std::string& text) {
  static const std::regex spec{R"(\w+\[[1-9]\d*(,[1-9]\d*)*\])"};
  return std::regex_match(text, spec) && parse_dtype(text.substr(0, text.find('[')));
}

}  // namespace

specs read_specs(const std::vector<std::string>& texts) {
  specs result;
  for (const auto& text : texts) {
    auto spec = parse_tensor_spec(text);
    if (!spec && is_written_like_a_spec(text)) throw error(spec.error());
    if (!spec) throw usage_error(spec.error().text);
    result.push_back(std::move(*spec));
  }
  return result;
}

std::vector<std::string> split(const std::string& list, char at) {
  std::vector<std::string> items;
  for (std::size_t from = 0, end = 0; end != std::string::npos; from = end + 1) {
    end = list.find(at, from);
    items.push_back(list.substr(from, end - from));
  }
  return items;
}

std::vector<std::int64_t> read_counts(const std::string& name, const std::string& list) {
  if (list.empty()) throw usage_error(fmt::format("{} is empty: give positive whole numbers, as 1,8,32", name));
  std::vector<std::int64_t> counts;
  for (const auto& item : split(list, ',')) {
    std::int64_t count = 0;
    const auto [end, ec] = std::from_chars(item.data(), item.data() + item.size(), count);
    if (ec == std::errc::invalid_argument || end != item.data() + item.size())
      throw usage_error(fmt::format("{} takes positive whole numbers, as 1,8,32, not '{}'", name, list));
    if (ec != std::errc() || count < 1)
      throw error(errc::invalid_argument,
                  fmt::format("{} has {}: it takes positive whole numbers, as 1,8,32", name, item));
    counts.push_back(count);
  }
  return counts;
}

specs with_batch(specs arguments, std::int64_t batch) {
  for (auto& spec : arguments)
    if (!spec.shape.empty()) spec.shape[0] = batch;
  return arguments;
}

std::vector<c10::IValue> example_of(const specs& arguments) {
  double bytes = 0;
  std::vector<std::string> texts;
  for (const auto& spec : arguments) {
    bytes += std::accumulate(spec.shape.begin(), spec.shape.end(), static_cast<double>(c10::elementSize(spec.dtype)),
                             [](double product, std::int64_t size) { return product * static_cast<double>(size); });
    texts.push_back(to_string(spec));
  }
  refuse_more_than_memory(fmt::format("the example {}", fmt::join(texts, ", ")), bytes, "give smaller sizes");
  std::vector<c10::IValue> example;
  for (const auto& spec : arguments) example.emplace_back(random_tensor(spec, /*seed=*/example.size()));
  return example;
}

std::vector<std::vector<c10::IValue>> read_calibration(const std::vector<std::string>& files) {
  if (files.empty()) return {};
  std::vector<c10::IValue> arguments;
  for (const auto& file : files) arguments.push_back(read_tensor_file(file).value());
  return {std::move(arguments)};
}

}  // namespace ganglion::command

#include "command.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace ganglion::command {

namespace {

/// The whole text as a number in the C locale; CLI11's own conversion takes `010` for 8.
template <class Number>
std::errc parse_number(std::string_view text, Number& number) {
  if (text.starts_with('+') && text.size() > 1 && text[1] != '-') text.remove_prefix(1);
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  return ec == std::errc() && end != text.data() + text.size() ? std::errc::invalid_argument : ec;
}

double finite_number(const std::string& name, const std::string& text) {
  double number = 0;
  if (parse_number(text, number) != std::errc() || !std::isfinite(number))
    throw usage_error(fmt::format("{} takes a number, not '{}'", name, text));
  return number;
}

}  // namespace

CLI::Option* add_model(CLI::App& verb, std::string& path) {
  return verb.add_option("MODEL", path, "A model that `ganglion trace` wrote")->required()->type_name("");
}

CLI::Option* add_integer(CLI::App& verb, const std::string& name, std::optional<std::int64_t>& value,
                         const std::string& help) {
  return verb
      .add_option_function<std::string>(
          name,
          [name, &value](const std::string& text) {
            std::int64_t number = 0;
            auto ec = parse_number(text, number);
            if (ec == std::errc::result_out_of_range)
              throw error(errc::invalid_argument, fmt::format("{} {} is more than 64 bits hold", name, text));
            if (ec != std::errc()) throw usage_error(fmt::format("{} takes a whole number, not '{}'", name, text));
            value = number;
          },
          help)
      ->type_name("N");
}

CLI::Option* add_number(CLI::App& verb, const std::string& name, std::optional<double>& value,
                        const std::string& help) {
  return verb
      .add_option_function<std::string>(
          name,
          [name, &value](const std::string& text) {
            value = finite_number(name, text);
          },
          help)
      ->type_name("NUMBER");
}

CLI::Option* add_numbers(CLI::App& verb, const std::string& name, std::vector<double>& values,
                         const std::string& help) {
  return verb
      .add_option_function<std::vector<std::string>>(
          name,
          [name, &values](const std::vector<std::string>& texts) {
            for (const auto& text : texts) values.push_back(finite_number(name, text));
          },
          help)
      ->allow_extra_args(false)
      ->type_name("NUMBER");
}

CLI::Option* add_device_ids(CLI::App& verb, std::vector<device_id>& ids) {
  return verb
      .add_option_function<std::string>(
          "--device-ids",
          [&ids](const std::string& list) {
            for (std::size_t from = 0, comma = 0; comma != std::string::npos; from = comma + 1) {
              comma = list.find(',', from);
              ids.push_back(device_id::parse_command_line_item(std::string_view(list).substr(from, comma - from)));
            }
          },
          "The cores to use, in this order, as nc:0,nc:1 or 0,1 (default: every visible core)")
      ->type_name("LIST");
}

CLI::Option* add_op_libraries(CLI::App& verb, load_options& options) {
  return verb
      .add_option_function<std::vector<std::string>>(
          "--op-library",
          [&options](const std::vector<std::string>& files) {
            // A bare name would be looked for in the system's folders only.
            for (const auto& file : files) options.op_libraries.push_back(std::filesystem::absolute(file));
          },
          "A shared library that registers operators of the model; repeat it for more libraries")
      ->allow_extra_args(false)
      ->type_name("FILE");
}

void add_bf16_bounds(CLI::App& verb, std::optional<double>& max_deviation, std::vector<std::string>& calibration,
                     const std::string& default_deviation) {
  add_number(verb, "--max-deviation", max_deviation,
             "The largest relative L2 deviation from the module that is accepted of bf16 (default: " +
                 default_deviation + ")");
  verb.add_option("--calibration", calibration,
                  "A tensor file with further rows to compare programs on, one for each --input")
      ->allow_extra_args(false)
      ->type_name("FILE");
}

CLI::Option* add_retune(CLI::App& verb, load_options& options) {
  const auto choose_anew = [&options] {
    options.retune = true;
    options.threads = 1;  // as the cores of the command have
  };
  return verb.add_flag_callback("--retune", choose_anew,
                                "Choose the model's programs anew where they were timed on another type of CPU or with "
                                "other threads");
}

CLI::Option* add_trace_out(CLI::App& verb, std::string& path) {
  return verb
      .add_option("--trace-out", path,
                  "Write a timeline of the run, also of one that fails, that Perfetto and chrome://tracing open")
      ->type_name("FILE");
}

CLI::Option* add_json(CLI::App& verb, bool& json) {
  return verb.add_flag("--json", json, "Print one JSON object on stdout");
}

}  // namespace ganglion::command

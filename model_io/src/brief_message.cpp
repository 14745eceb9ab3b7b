#include <ganglion/model_io/replica.hpp>

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>
#include <vector>

namespace ganglion {

namespace {

constexpr std::string_view blank = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(blank), text.size()));
  return text.substr(0, text.find_last_not_of(blank) + 1);
}

std::string_view first_line(std::string_view text) { return trimmed(text.substr(0, text.find('\n'))); }

/// Where the text begins with an exception's type, as `RuntimeError: ` or `builtins.ValueError: `, its length; else 0.
std::size_t type_length(std::string_view text) {
  const auto is_of_name = [](char c) { return c == '_' || c == '.' || std::isalnum(static_cast<unsigned char>(c)); };
  const auto end = std::find_if_not(text.begin(), text.end(), is_of_name) - text.begin();
  const auto length = static_cast<std::size_t>(end);
  return length > 0 && text.substr(length).starts_with(": ") ? length + 2 : 0;
}

/// The message that follows the traceback of TorchScript; nothing where there is none. A frame's last line of code is
/// marked, and lines may follow it; the exception's type comes next and, unlike them, is not indented. An operator that
/// a compiled program put into the graph has no code and no frame.
std::string_view after_traceback(std::string_view text) {
  const auto traceback = text.find("Traceback of TorchScript");
  if (traceback == text.npos) return {};
  const auto last_frame = text.rfind("<--- HERE\n");
  auto at = last_frame == text.npos ? text.find('\n', traceback) : last_frame;
  for (; at != text.npos; at = text.find('\n', at + 1)) {
    const auto line = text.substr(std::min(text.find('\n', at), text.size() - 1) + 1);
    if (const auto length = type_length(line); length > 0) return line.substr(length);
  }
  return {};
}

/// The lines up to an empty one, as one.
std::string paragraph(std::string_view text) {
  std::vector<std::string_view> lines;
  for (text = trimmed(text); !text.empty();) {
    const auto line = first_line(text);
    if (line.empty()) break;
    lines.push_back(line);
    text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  }
  return fmt::format("{}", fmt::join(lines, "; "));
}

/// Without the places in LibTorch's own sources that the messages of its checks begin with.
std::string_view without_place(std::string_view line) {
  const auto rest_after = [&](std::string_view mark) {
    const auto at = line.find(mark);
    const auto rest = at == line.npos ? std::string_view{} : line.substr(at + mark.size());
    return rest.substr(std::min(rest.find_first_not_of(". "), rest.size()));
  };
  if (line.starts_with("[enforce fail at ")) line = rest_after("] ");
  if (line.find("INTERNAL ASSERT FAILED at ") != line.npos) line = rest_after("please report a bug to PyTorch.");
  return line.substr(0, line.find_last_not_of(": ") + 1);
}

}  // namespace

std::string brief_message(const std::exception& e) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&e);
  const std::string text = torch_error ? torch_error->what_without_backtrace() : e.what();
  std::string_view rest{text};
  rest = rest.substr(0, rest.find("\nException raised from "));
  const auto models_own = after_traceback(rest);
  const auto message = models_own.empty() ? std::string{without_place(first_line(trimmed(rest)))}
                                          : paragraph(models_own);
  return message.empty() ? "no message" : message;
}

}  // namespace ganglion

#include "progress_line.hpp"

#include "terminal_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <sys/ioctl.h>
#include <unistd.h>

namespace ganglion::command {

namespace {

std::mutex stderr_mutex;
std::size_t lines_shown = 0;  // guarded by stderr_mutex

/// Takes what is shown off the terminal.
std::string clear_shown() {
  if (lines_shown == 0) return {};
  return lines_shown == 1 ? "\r\033[K" : fmt::format("\r\033[{}A\033[J", lines_shown - 1);
}

/// What fits on the terminal, a column for the cursor aside. One that does not know its size is taken to have room.
screen screen_of_stderr() {
  screen shown;
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0) return shown;
  if (size.ws_col > 1) shown.columns = size.ws_col - 1;
  if (size.ws_row > 0) shown.lines = size.ws_row;
  return shown;
}

void write_to_stderr(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

progress_line::progress_line(std::function<std::string()> text) : text_(std::move(text)) {
  if (::isatty(STDERR_FILENO)) thread_ = std::thread([this] { keep_up_to_date(); });
}

progress_line::~progress_line() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  ending_.notify_one();
  thread_.join();
}

void progress_line::keep_up_to_date() {
  std::unique_lock lock(mutex_);
  // What is over at once shows nothing.
  while (!ending_.wait_for(lock, std::chrono::milliseconds(200), [this] { return ended_; })) {
    auto text = fit_to(screen_of_stderr(), fmt::format("ganglion: {}", text_()));
    std::lock_guard writing(stderr_mutex);
    write_to_stderr(clear_shown() + text);
    lines_shown = 1 + static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  }
  std::lock_guard writing(stderr_mutex);
  write_to_stderr(clear_shown());
  lines_shown = 0;
}

void clear_line_of_another() {
  if (!::isatty(STDERR_FILENO)) return;
  std::lock_guard writing(stderr_mutex);
  write_to_stderr("\r\033[K");
}

void print_stderr_line(const std::string& line) {
  std::lock_guard writing(stderr_mutex);
  write_to_stderr(fmt::format("{}{}\n", clear_shown(), line));
  lines_shown = 0;
}

}  // namespace ganglion::command

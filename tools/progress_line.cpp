#include "progress_line.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <unistd.h>

namespace ganglion::command {

namespace {

constexpr std::string_view clear_line = "\r\033[K";

std::mutex stderr_mutex;
bool line_shown = false;  // guarded by stderr_mutex

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
    auto line = fmt::format("{}ganglion: {}", clear_line, text_());
    std::lock_guard writing(stderr_mutex);
    write_to_stderr(line);
    line_shown = true;
  }
  std::lock_guard writing(stderr_mutex);
  if (line_shown) write_to_stderr(clear_line);
  line_shown = false;
}

void print_stderr_line(const std::string& line) {
  std::lock_guard writing(stderr_mutex);
  write_to_stderr(fmt::format("{}{}\n", line_shown ? clear_line : "", line));
  line_shown = false;
}

}  // namespace ganglion::command

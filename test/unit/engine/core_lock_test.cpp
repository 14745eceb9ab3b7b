#include <ganglion/engine/core_lock.hpp>

#include "child_process.hpp"
#include "scratch_directory.hpp"

#include <support/doctest.hpp>

#include <sys/stat.h>

#include <fstream>
#include <memory>
#include <thread>
#include <vector>

using namespace ganglion;
using ganglion::test::child_process;
using ganglion::test::scratch_directory;
namespace fs = std::filesystem;

namespace {

/// "free", the holder's process id, or the name of the error.
std::string describe(const expected<std::optional<pid_t>>& answer) {
  if (!answer) return std::string{to_string(answer.error().code)};
  return *answer ? std::to_string(**answer) : "free";
}

std::string ask(const fs::path& directory, std::size_t core) {
  return describe(other_core_holder(directory, core));
}

std::string take(core_locks& locks, std::size_t core) { return describe(locks.take(core)); }

/// A child that takes cores 0 to `count` - 1 and keeps them; its report is what the last one was answered.
std::unique_ptr<child_process> holder_of(const fs::path& directory, std::size_t count = 1) {
  auto locks = std::make_shared<core_locks>(directory);
  return std::make_unique<child_process>([=] {
    std::string answer;
    for (std::size_t core = 0; core < count; ++core) answer = take(*locks, core);
    return answer;
  });
}

mode_t mode_of(const fs::path& path) {
  struct ::stat status {};
  return ::lstat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

}  // namespace

TEST_CASE("asking for a core creates nothing") {
  scratch_directory scratch;
  auto directory = scratch.path() / "locks";
  EXPECT(ask(directory, 0) == "free");
  EXPECT_FALSE(fs::exists(directory));
  fs::create_directory(directory);
  EXPECT(ask(directory, 0) == "free");
  EXPECT(fs::is_empty(directory));
}

TEST_CASE("the directory and the files are for all users, whatever the umask") {
  scratch_directory scratch;
  auto directory = scratch.path() / "locks";
  auto before = ::umask(077);
  core_locks locks{directory};
  EXPECT(take(locks, 12) == "free");
  ::umask(before);
  EXPECT(mode_of(directory) == 01777);
  EXPECT(mode_of(directory / "core-12.lock") == 0666);
}

TEST_CASE("a core that another process holds is refused with that process's id") {
  scratch_directory scratch;
  auto child = holder_of(scratch.path());
  REQUIRE(child->report() == "free");
  auto id = std::to_string(child->id());
  core_locks locks{scratch.path()};
  EXPECT(ask(scratch.path(), 0) == id);
  EXPECT(take(locks, 0) == id);
  EXPECT(locks.size() == 0);
  EXPECT(take(locks, 1) == "free");
  EXPECT(locks.size() == 1);
  std::ifstream file{scratch.path() / "core-0.lock"};
  std::string text;
  std::getline(file, text);
  EXPECT(text == id);
}

TEST_CASE("a killed holder leaves nothing locked") {
  scratch_directory scratch;
  auto child = holder_of(scratch.path());
  REQUIRE(child->report() == "free");
  child->kill();
  EXPECT(ask(scratch.path(), 0) == "free");
  core_locks locks{scratch.path()};
  EXPECT(take(locks, 0) == "free");
}

TEST_CASE("the engines of a process share its cores, and the last to go frees them") {
  scratch_directory scratch;
  auto asked_by_another = [&] { return child_process{[&] { return ask(scratch.path(), 0); }}.report(); };
  auto own = std::to_string(::getpid());
  core_locks first{scratch.path()};
  EXPECT(take(first, 0) == "free");
  EXPECT(take(first, 0) == "free");
  EXPECT(ask(scratch.path(), 0) == "free");
  {
    core_locks second{scratch.path() / "." / ""};
    EXPECT(take(second, 0) == "free");
    first = core_locks{scratch.path()};
    EXPECT(asked_by_another() == own);
  }
  EXPECT(asked_by_another() == "free");
}

TEST_CASE("moving locks neither drops nor doubles them") {
  scratch_directory scratch;
  auto asked_by_another = [&] { return child_process{[&] { return ask(scratch.path(), 0); }}.report(); };
  {
    core_locks first{scratch.path()};
    EXPECT(take(first, 0) == "free");
    core_locks second{std::move(first)};
    EXPECT(second.size() == 1);
    core_locks third{scratch.path()};
    third = std::move(second);
    EXPECT(asked_by_another() == std::to_string(::getpid()));
  }
  EXPECT(asked_by_another() == "free");
}

TEST_CASE("a forked child holds none of its parent's locks and cannot drop them") {
  scratch_directory scratch;
  auto parents = std::make_unique<core_locks>(scratch.path());
  REQUIRE(take(*parents, 0) == "free");
  auto own = std::to_string(::getpid());
  child_process child{[&] {
    auto seen = ask(scratch.path(), 0);
    seen += ' ' + take(*parents, 0);
    seen += ' ' + std::to_string(parents->size());
    seen += ' ' + take(*parents, 1);
    parents.reset();
    return seen;
  }};
  EXPECT(child.report() == own + " " + own + " 0 free");
  child_process other{[&] { return ask(scratch.path(), 0); }};
  EXPECT(other.report() == own);
  parents.reset();
  EXPECT(ask(scratch.path(), 0) == "free");
  EXPECT(child_process{[&] { return ask(scratch.path(), 0); }}.report() == "free");
}

TEST_CASE("a forked child's copy of its parent's locks does not drop the child's own") {
  scratch_directory scratch;
  int released[2];
  REQUIRE(::pipe(released) == 0);
  auto parents = std::make_unique<core_locks>(scratch.path());
  REQUIRE(take(*parents, 0) == "free");
  core_locks own{scratch.path()};
  child_process child{[&] {
    char go = 0;
    ::close(released[1]);
    [[maybe_unused]] auto got = ::read(released[0], &go, 1);
    auto answer = take(own, 0);
    parents.reset();
    return answer;
  }};
  parents.reset();
  ::close(released[0]);
  ::close(released[1]);
  EXPECT(child.report() == "free");
  EXPECT(ask(scratch.path(), 0) == std::to_string(child.id()));
}

TEST_CASE("a killed holder's forked child keeps nothing locked") {
  scratch_directory scratch;
  int hold[2];
  REQUIRE(::pipe(hold) == 0);
  core_locks locks{scratch.path()};
  child_process holder{[&] {
    auto answer = take(locks, 0);
    auto grandchild = new child_process{[&] {
      char go = 0;
      ::close(hold[1]);
      if (::fork() != 0) return std::string{"started"};
      [[maybe_unused]] auto got = ::read(hold[0], &go, 1);
      ::_exit(0);
    }};
    return answer + " " + grandchild->report();
  }};
  REQUIRE(holder.report() == "free started");
  holder.kill();
  EXPECT(ask(scratch.path(), 0) == "free");
  EXPECT(take(locks, 0) == "free");
  ::close(hold[0]);
  ::close(hold[1]);
}

TEST_CASE("a holder whose id cannot be told is another process") {
  scratch_directory scratch;
  auto child = holder_of(scratch.path());
  REQUIRE(child->report() == "free");
  for (const char* text : {"", "\n", "12", "-5\n", "x\n", "2147483646\n", "99999999999999999999999\n"}) {
    NOTE(text);
    std::ofstream{scratch.path() / "core-0.lock"} << text;
    EXPECT(ask(scratch.path(), 0) == "0");
  }
}

TEST_CASE("a file that was planted in place of a lock is refused and left as it is") {
  scratch_directory scratch;
  auto precious = scratch.path() / "precious";
  std::ofstream{precious} << "keep me";
  auto directory = scratch.path() / "locks";
  fs::create_directory(directory);
  auto file = directory / "core-0.lock";
  SUBCASE("a symbolic link") { fs::create_symlink(precious, file); }
  SUBCASE("a symbolic link to nothing") { fs::create_symlink(scratch.path() / "created", file); }
  SUBCASE("a hard link") { fs::create_hard_link(precious, file); }
  SUBCASE("a directory") { fs::create_directory(file); }
  SUBCASE("a pipe") { REQUIRE(::mkfifo(file.c_str(), 0666) == 0); }
  core_locks locks{directory};
  auto taken = locks.take(0);
  REQUIRE(taken.has_error());
  EXPECT(taken.error().code == errc::io_failed);
  EXPECT(taken.error().text.find(file.string()) != std::string::npos);
  EXPECT(taken.error().text.find("; delete it, and it is made anew") != std::string::npos);
  EXPECT(ask(directory, 0) == "io_failed");
  EXPECT_FALSE(fs::exists(scratch.path() / "created"));
  std::ifstream content{precious};
  std::string text;
  std::getline(content, text);
  EXPECT(text == "keep me");
}

TEST_CASE("a lock directory that is a link, a file or missing with its parent is refused") {
  scratch_directory scratch;
  fs::create_directory(scratch.path() / "real");
  fs::create_directory_symlink(scratch.path() / "real", scratch.path() / "link");
  std::ofstream{scratch.path() / "file"} << "text";
  for (const char* name : {"link", "file", "missing/locks"}) {
    NOTE(name);
    core_locks locks{scratch.path() / name};
    EXPECT(take(locks, 0) == "io_failed");
  }
  EXPECT(core_locks{scratch.path() / "link"}.take(0).error().text.find("symbolic link; delete it") !=
         std::string::npos);
  EXPECT(core_locks{scratch.path() / "missing/locks"}.take(0).error().text.find("the folder wants mode 1777") !=
         std::string::npos);
  EXPECT(fs::is_empty(scratch.path() / "real"));
}

TEST_CASE("a lock file that was deleted under its holder does not keep others waiting") {
  scratch_directory scratch;
  core_locks locks{scratch.path()};
  REQUIRE(take(locks, 0) == "free");
  fs::remove(scratch.path() / "core-0.lock");
  EXPECT(child_process{[&] {
           core_locks others{scratch.path()};
           return take(others, 0);
         }}.report() == "free");
}

TEST_CASE("threads may take and drop the same cores at once") {
  scratch_directory scratch;
  std::vector<std::thread> threads;
  std::vector<int> refused(4);
  for (auto& count : refused)
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        core_locks locks{scratch.path()};
        for (std::size_t core = 0; core < 3; ++core) count += take(locks, core) != "free";
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT(refused == std::vector<int>(4));
  EXPECT(child_process{[&] { return ask(scratch.path(), 0) + ask(scratch.path(), 2); }}.report() ==
         "freefree");
}

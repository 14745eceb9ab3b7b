#include <ganglion/model_io/whole_file.hpp>

#include <support/doctest.hpp>
#include <support/scratch_folder.hpp>

#include <fstream>
#include <ostream>
#include <sstream>

using namespace ganglion;
namespace fs = std::filesystem;

namespace {

std::string text_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream{path}.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("a whole file replaces the one before, also through a link, and leaves nothing beside it") {
  const scratch_folder folder;
  std::ofstream{folder / "file"} << "before";
  fs::create_symlink(folder / "file", folder / "link");
  for (const char* name : {"file", "link", "new"}) {
    REQUIRE(check_whole_file(folder / name).has_value());
    REQUIRE(write_whole_file(folder / name, [&](std::ostream& out) { out << name; }).has_value());
    EXPECT(text_of(folder / name) == name);
  }
  EXPECT(fs::is_symlink(folder / "link"));
  EXPECT(folder.file_count() == 3);
}

TEST_CASE("a link that leads to no file yet is followed, and one in a circle is refused") {
  const scratch_folder folder;
  fs::create_directory(folder / "inner");
  fs::create_symlink("inner/second", folder / "first");
  fs::create_symlink("new", folder / "inner" / "second");
  fs::create_symlink("circle", folder / "circle");
  REQUIRE(written_path(folder / "first").has_value());
  EXPECT(*written_path(folder / "first") == fs::canonical(folder / "inner") / "new");
  REQUIRE(write_whole_file(folder / "first", [](std::ostream& out) { out << "text"; }).has_value());
  EXPECT(fs::is_symlink(folder / "first"));
  EXPECT(text_of(folder / "inner" / "new") == "text");
  EXPECT(check_whole_file(folder / "circle").has_error());
}

TEST_CASE("while a whole file is written there is nothing beside it, for a killed process would leave it") {
  const scratch_folder folder;
  const auto written = write_whole_file(folder / "file", [&](std::ostream& out) {
    out << "half";
    out.flush();
    EXPECT(folder.file_count() == 0);
  });
  EXPECT(written.has_value());
  EXPECT(text_of(folder / "file") == "half");
}

TEST_CASE("a name as long as the file system takes is good, and a longer one is refused when asked") {
  const scratch_folder folder;
  const auto longest = folder / std::string(255, 'x'), longer = folder / std::string(256, 'x');
  REQUIRE(check_whole_file(longest).has_value());
  REQUIRE(write_whole_file(longest, [&](std::ostream& out) { out << "text"; }).has_value());
  EXPECT(text_of(longest) == "text");
  EXPECT(check_whole_file(longer).has_error());
  EXPECT(folder.file_count() == 1);
}

TEST_CASE("asking whether a file can be written changes nothing") {
  const scratch_folder folder;
  std::ofstream{folder / "file"} << "before";
  EXPECT(check_whole_file(folder / "file").has_value());
  EXPECT(check_whole_file(folder / "new").has_value());
  EXPECT(text_of(folder / "file") == "before");
  EXPECT(folder.file_count() == 1);
}

TEST_CASE("a whole file that stops half-way leaves the one before") {
  const scratch_folder folder;
  std::ofstream{folder / "file"} << "before";
  const auto written = write_whole_file(folder / "file", [](std::ostream& out) {
    out << "half";
    out.setstate(std::ios::badbit);
  });
  REQUIRE(written.has_error());
  EXPECT(written.error().code == errc::io_failed);
  EXPECT(text_of(folder / "file") == "before");
  EXPECT(folder.file_count() == 1);
}

TEST_CASE("what is no place for a file is refused when asked, with the same sentence as when written") {
  const scratch_folder folder;
  fs::create_directory(folder / "inner");
  for (const auto& path : {folder / "inner", folder / "missing" / "file", folder / "missing" / "", fs::path{},
                           fs::path{"/dev/null"}, fs::path{"/proc/file"}}) {
    NOTE(path.string());
    const auto asked = check_whole_file(path);
    const auto written = write_whole_file(path, [](std::ostream& out) { out << "text"; });
    REQUIRE(asked.has_error());
    REQUIRE(written.has_error());
    EXPECT(asked.error() == written.error());
    EXPECT(asked.error().code == errc::io_failed);
    EXPECT(asked.error().text.starts_with("'" + path.string() + "' cannot be written: "));
  }
  EXPECT(folder.file_count() == 1);
}

// docs/semantics.md names a test for every clause, and every test that it names exists.
#include <support/doctest.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace fs = std::filesystem;

namespace {

constexpr int clauses = 26;

std::string text_of(const fs::path& path) {
  std::ifstream in{path};
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The names of all C++ test cases below a folder.
std::set<std::string> test_names(const fs::path& folder) {
  const std::regex name{R"re(TEST_CASE\(\s*"((?:[^"\\]|\\.)*)"\))re"};
  std::set<std::string> result;
  for (const auto& entry : fs::recursive_directory_iterator{folder}) {
    if (!entry.path().native().ends_with("_test.cpp")) continue;
    const auto text = text_of(entry.path());
    for (std::sregex_iterator i{text.begin(), text.end(), name}, end; i != end; ++i) result.insert((*i)[1]);
  }
  return result;
}

/// The rows of the document's table by clause: the text of each.
std::map<int, std::string> rows_of(const std::string& document) {
  const std::regex row{R"re(^\| S(\d+) \|)re"};
  std::map<int, std::string> result;
  std::istringstream lines{document};
  for (std::string line; std::getline(lines, line);)
    if (std::smatch match; std::regex_search(line, match, row)) result[std::stoi(match[1])] = line;
  return result;
}

/// The names of tests in a row: in backticks, beginning with a clause.
std::vector<std::string> tests_in(const std::string& row) {
  const std::regex name{R"re(`(S\d+: [^`]*)`)re"};
  std::vector<std::string> result;
  for (std::sregex_iterator i{row.begin(), row.end(), name}, end; i != end; ++i) result.push_back((*i)[1]);
  return result;
}

}  // namespace

TEST_CASE("every clause of the semantics has an integration test that begins with its number") {
  const auto names = test_names(fs::path{GANGLION_TESTS} / "integration");
  for (int clause = 1; clause <= clauses; ++clause) {
    const auto prefix = fmt::format("S{}: ", clause);
    NOTE(prefix);
    EXPECT(std::any_of(names.begin(), names.end(), [&](const std::string& name) { return name.starts_with(prefix); }));
  }
}

TEST_CASE("docs/semantics.md has a row for every clause, with tests of that clause that exist") {
  const auto rows = rows_of(text_of(GANGLION_SEMANTICS_DOCUMENT));
  const auto names = test_names(GANGLION_TESTS);
  EXPECT(rows.size() == clauses);
  for (int clause = 1; clause <= clauses; ++clause) {
    NOTE("S" << clause);
    REQUIRE(rows.contains(clause));
    const auto tests = tests_in(rows.at(clause));
    EXPECT_FALSE(tests.empty());
    for (const auto& test : tests) {
      NOTE(test);
      EXPECT(test.starts_with(fmt::format("S{}: ", clause)));
      EXPECT(names.contains(test));
    }
  }
}

TEST_CASE("docs/semantics.md lists every integration test of a clause") {
  const auto document = text_of(GANGLION_SEMANTICS_DOCUMENT);
  const std::regex clause{R"re(^S\d+: )re"};
  for (const auto& name : test_names(fs::path{GANGLION_TESTS} / "integration")) {
    if (!std::regex_search(name, clause)) continue;
    NOTE(name);
    EXPECT(document.find("`" + name + "`") != document.npos);
  }
}

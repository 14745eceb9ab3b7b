#include <support/doctest.hpp>

#include <ganglion/model_io/error.hpp>

#include <set>
#include <string>

using ganglion::errc;

namespace {

template <class Function>
void for_each_code(Function visit) {
  for (std::size_t i = 0; i < ganglion::errc_count; ++i) visit(static_cast<errc>(i));
}

}  // namespace

TEST_CASE("every error code has a name of its own, which is also its message") {
  std::set<std::string_view> names;
  for_each_code([&](errc code) {
    names.insert(to_string(code));
    EXPECT(ganglion::error_category().message(static_cast<int>(code)) == to_string(code));
  });
  EXPECT(names.size() == ganglion::errc_count);
  EXPECT(names.count("") == 0);
}

TEST_CASE("exactly four codes are retryable") {
  std::set<errc> retryable;
  for_each_code([&](errc code) {
    if (ganglion::retryable(code)) retryable.insert(code);
  });
  EXPECT(retryable == std::set{errc::core_unavailable, errc::core_lost, errc::queue_full, errc::draining});
}

TEST_CASE("an unknown number from the wire is an invalid argument, not a crash") {
  EXPECT(to_string(static_cast<errc>(250)) == "invalid_argument");
  EXPECT_FALSE(ganglion::retryable(static_cast<errc>(250)));
}

TEST_CASE("an error says its sentence alone and compares with its code") {
  ganglion::error e(errc::shape_mismatch, "x has 3 rows");
  EXPECT(std::string{e.what()} == "x has 3 rows");
  EXPECT(e.code() == errc::shape_mismatch);
  EXPECT(e.code() != errc::gather_mismatch);
  EXPECT(e.code().category().name() == std::string{"ganglion"});
  EXPECT_FALSE(e.retryable());
}

TEST_CASE("an error keeps the rows and the core of its failure") {
  ganglion::failure f{errc::core_lost, "core 2 died", 4, 8, 2};
  ganglion::error e(f);
  EXPECT(e.failure() == f);
  EXPECT(e.retryable());
}

TEST_CASE("the value of a failed result throws the failure as an error") {
  ganglion::expected<int> result = ganglion::failure{errc::io_failed, "no space left"};
  bool thrown = false;
  try {
    result.value();
  } catch (const ganglion::error& e) {
    thrown = true;
    EXPECT(e.code() == errc::io_failed);
    EXPECT(std::string{e.what()} == "no space left");
  }
  EXPECT(thrown);
}

TEST_CASE("the code zero is no error") { EXPECT_FALSE(make_error_code(errc::ok)); }

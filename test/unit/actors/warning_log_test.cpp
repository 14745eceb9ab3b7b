#include <ganglion/actors/coordinator/warning_log.hpp>

#include <support/doctest.hpp>

#include <thread>

using namespace ganglion;

TEST_CASE("each kind of warning is kept and logged once, in order") {
  std::vector<std::string> logged;
  warning_log log{[&](std::string_view sentence) { logged.emplace_back(sentence); }};
  log.add("b", "first");
  log.add("a", "second");
  log.add("b", "another sentence of a known kind");
  EXPECT(log.sentences() == std::vector<std::string>{"first", "second"});
  EXPECT(logged == log.sentences());
}

TEST_CASE("a log without a logger keeps its warnings") {
  warning_log log;
  log.add("a", "kept");
  EXPECT(log.sentences() == std::vector<std::string>{"kept"});
}

TEST_CASE("a logger may look at the log that calls it") {
  warning_log* self = nullptr;
  std::size_t seen = 0;
  warning_log log{[&](std::string_view) { seen = self->sentences().size(); }};
  self = &log;
  log.add("a", "kept");
  EXPECT(seen == 1);
}

TEST_CASE("threads that warn of the same at once leave one warning") {
  warning_log log;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&log] {
      for (int i = 0; i < 500; ++i) log.add(std::to_string(i % 7), std::to_string(i % 7));
    });
  for (auto& t : threads) t.join();
  EXPECT(log.sentences().size() == 7);
}

#include <support/doctest.hpp>

#include <watch.hpp>

using namespace ganglion;
using namespace ganglion::command;
using namespace std::chrono_literals;

namespace {

status some_status() {
  status s;
  s.cores.resize(2);
  s.cores[0].up = true;
  s.cores[0].rows = 1'000;
  s.cores[1].index = 1;
  s.models.resize(1);
  s.models[0].id = 4;
  s.models[0].outcomes = {100, 0, 2};
  return s;
}

const auto start = status_watch::time_point{} + 1h;

}  // namespace

TEST_CASE("the first look has the states and no rates") {
  auto s = some_status();
  s.cores[1].lost = true;
  s.cores[1].restarts = 6;
  EXPECT(status_watch{}.text(s, start) ==
         "nc:0   up      \n"
         "nc:1   lost      6 restarts\n"
         "model 4  0 rows wait (0 B), 0 executions in flight");
}

TEST_CASE("rates and shares are of the time since the first look, and of the last two seconds") {
  status_watch watch;
  auto s = some_status();
  watch.text(s, start);
  s.cores[0].busy_ns = 1'000'000'000;
  s.cores[0].executions = 500;
  s.cores[0].rows += 3'000;
  s.cores[0].padding_rows = 1'000;
  auto& m = s.models[0];
  m.outcomes = {25'100, 5, 4};
  m.queued_rows = 12;
  m.queued_bytes = 1'536;
  m.executions_in_flight = 2;
  for (int i = 0; i < 100; ++i) m.total.add(2ms);
  s.abandoned_lanes = 1;
  s.abandoned_bytes = 3 << 20;
  EXPECT(watch.text(s, start + 2s) ==
         "nc:0   up        50 % busy     250 executions/s    1.5k rows/s  25 % padding\n"
         "nc:1   starting   0 % busy       0 executions/s       0 rows/s   0 % padding\n"
         "model 4  12 rows wait (1.5 KiB), 2 executions in flight, 12.5k requests/s well, 4 not, p50 2.03 ms, p99 2.03 ms\n"
         "1 thread left behind, with 3 MiB");
  // Half a second later that is as long ago as counts.
  for (auto half = 1; half <= 4; ++half) watch.text(s, start + 2s + half * 500ms);
  s.cores[0].rows += 300;
  for (int i = 0; i < 10; ++i) m.total.add(1500ms);
  const auto later = watch.text(s, start + 4500ms);
  EXPECT(later.find("     150 rows/s") != std::string::npos);
  EXPECT(later.find("p50 1.54 s") != std::string::npos);
}

TEST_CASE("numbers have three digits and the unit that fits them") {
  auto s = some_status();
  const auto model_line = [&s] { return status_watch{}.text(s, start); };
  for (const auto& [bytes, text] : std::vector<std::pair<std::uint64_t, std::string>>{
           {1'023, "(1023 B)"}, {1'020 << 10, "(1020 KiB)"}, {(1 << 20) - 1, "(1 MiB)"}, {1 << 30, "(1 GiB)"}}) {
    s.models[0].queued_bytes = bytes;
    NOTE(text);
    EXPECT(model_line().find(text) != std::string::npos);
  }
  s.models[0].queued_rows = 999'999;
  EXPECT(model_line().find("1M rows wait") != std::string::npos);
  s.models[0].total.add(250ms);
  EXPECT(model_line().find("p50 252 ms") != std::string::npos);
}

TEST_CASE("a core that started again counts from its beginning") {
  status_watch watch;
  auto s = some_status();
  watch.text(s, start);
  s.cores[0].rows = 40;
  EXPECT(watch.text(s, start + 1s).find("    40 rows/s") != std::string::npos);
}

// S1 to S8: replication, device ids, visible cores and their locks.
#include <support/calls.hpp>
#include <support/child_program.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>
#include <support/scratch_folder.hpp>

#include <ganglion/engine/core_lock.hpp>

#include <fmt/format.h>

#include <fstream>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

namespace {

/// Bytes of memory that the process has in use.
std::size_t resident_bytes() {
  std::ifstream in{"/proc/self/statm"};
  std::size_t pages = 0, resident = 0;
  in >> pages >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

compiled_model small_model() { return compiled(modules::plus_one(), {at::ones({1, 2})}); }

std::vector<std::size_t> globals_of(const engine& host) {
  std::vector<std::size_t> result;
  for (const auto& core : host.cores()) result.push_back(core.global);
  return result;
}

/// The environment variables of cores, as a test wants them.
struct core_variables {
  scoped_variable visible{"NEURON_RT_VISIBLE_CORES", std::nullopt};
  scoped_variable number{"NEURON_RT_NUM_CORES", std::nullopt};
  scoped_variable host{"GANGLION_HOST_CORES", std::nullopt};
};

}  // namespace

TEST_CASE("S1: the model is on every core when construction returns, once, and its weights are shared") {
  engine_ears ears;
  engine host{ears.options(8)};
  const auto model = compiled(modules::linear(4096, 4096), {at::rand({1, 4096})});
  REQUIRE(model.weight_bytes() >= 64u << 20);
  const auto before = resident_bytes();
  data_parallel parallel{host, model};
  EXPECT(resident_bytes() < before + 3 * model.weight_bytes());  // a copy a core would be 8 times

  auto status = host.status();
  REQUIRE(status.cores.size() == 8);
  for (const auto& core : status.cores) {
    EXPECT(core.models == 1);
    EXPECT(core.model_bytes == model.weight_bytes());
    EXPECT(core.executions == 0);
  }
  answer(parallel, {at::rand({16, 4096})});
  status = host.status();
  for (const auto& core : status.cores) EXPECT(core.models == 1);
}

TEST_CASE("S1: the rows of a request are distributed over the cores") {
  engine_ears ears;
  engine host{ears.options(4)};
  data_parallel parallel{host, compiled(modules::plus_one(), {at::ones({2, 3})})};
  const auto x = counted({8, 3});
  EXPECT(same(answer(parallel, {x}), x + 1));
  const auto records = ears.wait_for_executions(4);
  EXPECT(records.size() == 4);
  EXPECT((executions_per_core(records) == std::map<std::size_t, std::size_t>{{0, 1}, {1, 1}, {2, 1}, {3, 1}}));
  for (const auto& r : records) {
    EXPECT(r.rows == 2);
    EXPECT(r.data_parallel_id == parallel.id());
    EXPECT_FALSE(r.failed);
    EXPECT(r.enqueued <= r.formed);
    EXPECT(r.formed <= r.started);
    EXPECT(r.started <= r.computed);
    EXPECT(r.computed <= r.gathered);
  }
}

TEST_CASE("S2: without device ids all cores of the process are used") {
  const core_variables variables;
  engine_ears ears;
  engine host{ears.options(5)};
  data_parallel parallel{host, small_model()};
  EXPECT((parallel.cores() == std::vector<std::size_t>{0, 1, 2, 3, 4}));
  EXPECT(parallel.num_workers() == 10);
}

TEST_CASE("S2: all cores are those that the process sees, not those of the host") {
  core_variables variables;
  variables.visible.set("6,2-3");
  const scratch_folder locks;
  engine_ears ears;
  auto options = ears.options(8);
  options.lock_directory = locks / "cores";
  engine host{options};
  data_parallel parallel{host, small_model()};
  EXPECT((parallel.cores() == std::vector<std::size_t>{0, 1, 2}));
  EXPECT(same(answer(parallel, {counted({7, 2})}), counted({7, 2}) + 1));
}

TEST_CASE("S2: without an engine, all cores of the process's default engine are used") {
  data_parallel parallel{small_model()};
  EXPECT(parallel.cores().size() == engine::process_default().core_count());
  EXPECT(same(answer(parallel, {counted({3, 2})}), counted({3, 2}) + 1));
}

TEST_CASE("S3: ints and names such as nc:0 mean cores, mixed too, and the order given is kept") {
  engine_ears ears;
  engine host{ears.options(4)};
  const auto model = small_model();
  data_parallel parallel{host, model, {.device_ids = {3, "nc:0", 2}}};
  EXPECT((parallel.cores() == std::vector<std::size_t>{3, 0, 2}));
  answer(parallel, {counted({6, 2})});
  auto per_core = executions_per_core(ears.wait_for_executions(6));
  EXPECT((per_core == std::map<std::size_t, std::size_t>{{0, 2}, {2, 2}, {3, 2}}));
  EXPECT((data_parallel{host, model, {.device_ids = {std::string{"nc:1"}}}}.cores() == std::vector<std::size_t>{1}));
  EXPECT((data_parallel{host, model, {.device_ids = {device_id::parse_command_line_item("2"),
                                                     device_id::parse_command_line_item("nc:1")}}}
              .cores() == std::vector<std::size_t>{2, 1}));
}

TEST_CASE("S3: what names no visible core is invalid_device_id, with the value and how many cores are visible") {
  engine_ears ears;
  engine host{ears.options(4)};
  const auto model = small_model();
  struct row {
    std::vector<device_id> ids;
    std::string said;
  };
  const std::vector<row> table{
      {{-1}, "-1"},
      {{"nc:-1"}, "\"nc:-1\""},
      {{"NC:0"}, "\"NC:0\""},
      {{"cuda:0"}, "\"cuda:0\""},
      {{"0"}, "\"0\""},
      {{4}, "4"},
      {{"nc:4"}, "\"nc:4\""},
      {{""}, "\"\""},
      {{"nc:"}, "\"nc:\""},
      {{"nc:1 "}, "\"nc:1 \""},
      {{" nc:1"}, "\" nc:1\""},
      {{"nc:01"}, "\"nc:01\""},
      {{"nc:+1"}, "\"nc:+1\""},
      {{"nc:0x1"}, "\"nc:0x1\""},
      {{"nc:1,2"}, "\"nc:1,2\""},
      {{"nc:99999999999999999999"}, "\"nc:99999999999999999999\""},
      {{0, 0}, "0"},
      {{1, "nc:1"}, "\"nc:1\""},
      {{0, 1, 7}, "7"},
      {{std::numeric_limits<int>::min()}, "-2147483648"},
  };
  for (const auto& [ids, said] : table) {
    const auto f = failure_of([&] { data_parallel{host, model, {.device_ids = ids}}; });
    NOTE(said << ": " << f.text);
    EXPECT(f.code == errc::invalid_device_id);
    EXPECT(contains(f.text, said));
    EXPECT(contains(f.text, "4"));
  }
  EXPECT(host.status().cores[0].models == 0);
}

TEST_CASE("S4: indices are zero based in the process, whatever the cores' global numbers") {
  core_variables variables;
  variables.visible.set("5,3,6-7");
  const scratch_folder locks;
  engine_ears ears;
  auto options = ears.options(8);
  options.lock_directory = locks / "cores";
  engine host{options};
  EXPECT((globals_of(host) == std::vector<std::size_t>{5, 3, 6, 7}));
  for (std::size_t i = 0; i < 4; ++i) EXPECT(host.cores()[i].index == i);
  const auto model = small_model();
  data_parallel parallel{host, model, {.device_ids = {"nc:3", 0}}};
  answer(parallel, {counted({2, 2})});
  EXPECT((executions_per_core(ears.wait_for_executions(2)) == std::map<std::size_t, std::size_t>{{0, 1}, {3, 1}}));
  EXPECT(failure_of([&] { data_parallel{host, model, {.device_ids = {5}}}; }).code == errc::invalid_device_id);
}

TEST_CASE("S5: of 16 cores on 4 chips nc:0 is chip0:core0 and nc:14 is chip3:core2") {
  core_variables variables;
  variables.host.set("16");
  engine_ears ears;
  auto options = ears.options(1);
  options.host_cores.reset();
  engine host{options};
  REQUIRE(host.core_count() == 16);
  EXPECT((host.cores()[0] == core_info{0, 0, 0, 0}));
  EXPECT((host.cores()[14] == core_info{14, 14, 3, 2}));
  data_parallel parallel{host, small_model(), {.device_ids = {"nc:14"}}};
  EXPECT(same(answer(parallel, {counted({2, 2})}), counted({2, 2}) + 1));
  EXPECT((executions_per_core(ears.wait_for_executions(2)) == std::map<std::size_t, std::size_t>{{14, 2}}));

  engine other{ears.options(6)};  // the option wins over the variable
  EXPECT(other.core_count() == 6);
}

TEST_CASE("S6: two processes at once see 0-6 and 7-15, each from nc:0 on") {
  const scratch_folder locks;
  auto directory = (locks / "cores").string();
  child_program first{
      GANGLION_HOLD_CORES, {directory}, {{"GANGLION_HOST_CORES", "16"}, {"NEURON_RT_VISIBLE_CORES", "0-6"}}};
  child_program second{
      GANGLION_HOLD_CORES, {directory}, {{"GANGLION_HOST_CORES", "16"}, {"NEURON_RT_VISIBLE_CORES", "7-15"}}};
  REQUIRE(first.line() == "sees 7 cores");
  REQUIRE(second.line() == "sees 9 cores");
  for (auto* process : {&first, &second}) {
    const auto said = process->ask("nc:14");
    EXPECT(said.starts_with("error invalid_device_id: "));
    EXPECT(contains(said, "\"nc:14\""));
    EXPECT(contains(said, process == &first ? "7" : "9"));
  }
  EXPECT(second.ask("nc:7") == "nc:7 is core 14 of the host, chip3:core2, and answers 4");
  EXPECT(first.ask("nc:7").starts_with("error invalid_device_id: "));
  EXPECT(first.ask("nc:0") == "nc:0 is core 0 of the host, chip0:core0, and answers 4");
  EXPECT(second.ask("nc:0") == "nc:0 is core 7 of the host, chip1:core3, and answers 4");
  EXPECT(first.finish() == 0);
  EXPECT(second.finish() == 0);
}

TEST_CASE("S7: NEURON_RT_VISIBLE_CORES lists cores and ranges, in any order and with gaps") {
  core_variables variables;
  const scratch_folder locks;
  engine_ears ears;
  auto options = ears.options(8);
  options.lock_directory = locks / "cores";
  const std::vector<std::pair<std::string, std::vector<std::size_t>>> table{
      {"3", {3}},   {"0-6", {0, 1, 2, 3, 4, 5, 6}},   {"0,2,4-5", {0, 2, 4, 5}}, {"7,1", {7, 1}},
      {"4-4", {4}}, {"0-7", {0, 1, 2, 3, 4, 5, 6, 7}}};
  for (const auto& [text, globals] : table) {
    variables.visible.set(text);
    NOTE(text);
    EXPECT((globals_of(engine{options}) == globals));
  }
}

TEST_CASE("S7: NEURON_RT_VISIBLE_CORES wins over NEURON_RT_NUM_CORES, which takes the first free cores") {
  core_variables variables;
  const scratch_folder locks;
  engine_ears ears;
  auto options = ears.options(8);
  options.lock_directory = locks / "cores";
  variables.number.set("3");
  EXPECT((globals_of(engine{options}) == std::vector<std::size_t>{0, 1, 2}));
  variables.visible.set("5-6");
  EXPECT((globals_of(engine{options}) == std::vector<std::size_t>{5, 6}));
}

TEST_CASE("S7: bad text, a core past the host's last and one listed twice fail when the engine is made") {
  core_variables variables;
  const scratch_folder locks;
  engine_ears ears;
  auto options = ears.options(8);
  options.lock_directory = locks / "cores";
  for (const std::string text :
       {"8", "0-8", "1,1", "0-3,2", "a", "1-", "-1", "1,,2", "3-1", "0 1", "0x1", "1,", "1.5"}) {
    variables.visible.set(text);
    const auto f = failure_of([&] { engine{options}; });
    NOTE(text << ": " << f.text);
    EXPECT(f.code == errc::invalid_argument);
    EXPECT(contains(f.text, fmt::format("NEURON_RT_VISIBLE_CORES=\"{}\"", text)));
  }
  variables.visible.set("");
  EXPECT(failure_of([&] { engine{options}; }).code == errc::core_unavailable);
  variables.visible.set(std::nullopt);
  for (const auto& [text, code] : std::vector<std::pair<std::string, errc>>{
           {"9", errc::core_unavailable}, {"0", errc::core_unavailable}, {"two", errc::invalid_argument}}) {
    variables.number.set(text);
    const auto f = failure_of([&] { engine{options}; });
    NOTE(text << ": " << f.text);
    EXPECT(f.code == code);
    EXPECT(contains(f.text, "NEURON_RT_NUM_CORES"));
  }
}

TEST_CASE("S7: the variables are read once, when the engine is made") {
  core_variables variables;
  const scratch_folder locks;
  engine_ears ears;
  auto options = ears.options(8);
  options.lock_directory = locks / "cores";
  variables.visible.set("4-5");
  engine host{options};
  variables.visible.set("0-7");
  variables.number.set("1");
  EXPECT((globals_of(host) == std::vector<std::size_t>{4, 5}));
  data_parallel parallel{host, small_model()};
  EXPECT(parallel.cores().size() == 2);
  EXPECT(same(answer(parallel, {counted({3, 2})}), counted({3, 2}) + 1));
}

TEST_CASE("S8: a core that another process holds is core_unavailable, and the process is named") {
  core_variables variables;
  const scratch_folder locks;
  engine_ears ears;
  auto options = ears.options(8);
  options.lock_directory = locks / "cores";
  child_program holder{GANGLION_HOLD_CORES, {options.lock_directory.string()},
                       {{"GANGLION_HOST_CORES", "8"}, {"NEURON_RT_VISIBLE_CORES", "0-2"}}};
  REQUIRE(holder.line() == "sees 3 cores");

  variables.visible.set("2-4");
  const auto f = failure_of([&] { engine{options}; });
  EXPECT(f.code == errc::core_unavailable);
  EXPECT(retryable(f.code));
  EXPECT(contains(f.text, fmt::format("process {}", holder.id())));
  EXPECT(contains(f.text, "NeuronCore 2"));
  child_program late{GANGLION_HOLD_CORES, {options.lock_directory.string()},
                     {{"GANGLION_HOST_CORES", "8"}, {"NEURON_RT_VISIBLE_CORES", "1"}}};
  const auto said = late.line();
  EXPECT(said.starts_with("error core_unavailable: "));
  EXPECT(contains(said, fmt::format("process {}", holder.id())));

  // A look takes nothing and sees the same.
  auto preview = preview_cores({.host_cores = 8, .num_cores_env = "3"}, options.lock_directory);
  REQUIRE(preview.has_value());
  EXPECT(preview->cores.front().global == 3);

  variables.visible.set(std::nullopt);
  variables.number.set("3");
  EXPECT((globals_of(engine{options}) == std::vector<std::size_t>{3, 4, 5}));
  variables.number.set(std::nullopt);
  EXPECT(engine{options}.core_count() == 8);  // with neither variable set nothing is locked

  variables.visible.set("2-4");
  holder.finish();
  EXPECT((globals_of(engine{options}) == std::vector<std::size_t>{2, 3, 4}));
}

TEST_CASE("S8: engines of one process share its cores, and the last of them lets them go") {
  core_variables variables;
  variables.visible.set("1-2");
  const scratch_folder locks;
  engine_ears ears;
  auto options = ears.options(4);
  options.lock_directory = locks / "cores";
  const std::map<std::string, std::string> same_cores{{"GANGLION_HOST_CORES", "4"}, {"NEURON_RT_VISIBLE_CORES", "1-2"}};
  auto first = std::make_unique<engine>(options);
  {
    engine second{options};
    data_parallel a{*first, small_model()}, b{second, small_model()};
    EXPECT(same(answer(a, {counted({3, 2})}), answer(b, {counted({3, 2})})));
  }
  child_program refused{GANGLION_HOLD_CORES, {options.lock_directory.string()}, same_cores};
  EXPECT(contains(refused.line(), fmt::format("process {}", ::getpid())));
  first.reset();
  child_program accepted{GANGLION_HOLD_CORES, {options.lock_directory.string()}, same_cores};
  EXPECT(accepted.line() == "sees 2 cores");
}

TEST_CASE("S8: a holder that crashes leaves nothing locked") {
  core_variables variables;
  variables.visible.set("0-1");
  const scratch_folder locks;
  engine_ears ears;
  auto options = ears.options(2);
  options.lock_directory = locks / "cores";
  child_program holder{GANGLION_HOLD_CORES, {options.lock_directory.string()},
                       {{"GANGLION_HOST_CORES", "2"}, {"NEURON_RT_NUM_CORES", "2"}}};
  REQUIRE(holder.line() == "sees 2 cores");
  EXPECT(failure_of([&] { engine{options}; }).code == errc::core_unavailable);
  holder.kill();
  EXPECT(engine{options}.core_count() == 2);
}

TEST_CASE("S8: processes that start together with NEURON_RT_NUM_CORES get cores of their own") {
  const scratch_folder locks;
  const std::map<std::string, std::string> two_of_six{{"GANGLION_HOST_CORES", "6"}, {"NEURON_RT_NUM_CORES", "2"}};
  const auto directory = (locks / "cores").string();
  child_program a{GANGLION_HOLD_CORES, {directory}, two_of_six}, b{GANGLION_HOLD_CORES, {directory}, two_of_six},
      c{GANGLION_HOLD_CORES, {directory}, two_of_six};
  std::vector<std::string> used;
  for (auto* process : {&a, &b, &c}) {
    REQUIRE(process->line() == "sees 2 cores");
    for (const char* id : {"nc:0", "nc:1"}) used.push_back(process->ask(id).substr(8));
  }
  std::sort(used.begin(), used.end());
  EXPECT(std::unique(used.begin(), used.end()) == used.end());
  EXPECT(used.size() == 6);
  child_program d{GANGLION_HOLD_CORES, {directory}, two_of_six};
  EXPECT(d.line().starts_with("error core_unavailable: "));
}

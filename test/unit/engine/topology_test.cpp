#include <ganglion/engine/topology.hpp>

#include "topology_requests.hpp"

#include <support/doctest.hpp>
#include <support/errors.hpp>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>

using namespace ganglion;

namespace {

using core_list = std::vector<std::size_t>;

core_query never_asked() {
  return [](std::size_t) -> expected<std::optional<pid_t>> {
    return failure{errc::io_failed, "nobody was to be asked"};
  };
}

core_query held_by(std::map<std::size_t, pid_t> holders) {
  return [holders](std::size_t global) -> expected<std::optional<pid_t>> {
    auto found = holders.find(global);
    return found == holders.end() ? std::optional<pid_t>{} : found->second;
  };
}

topology resolved(const topology_request& request, const core_query& query = never_asked()) {
  auto found = resolve_topology(request, query);
  NOTE((found ? "" : found.error().text));
  REQUIRE(found.has_value());
  return *found;
}

core_list globals(const topology& found) {
  core_list list;
  for (const auto& core : found.cores) list.push_back(core.global);
  return list;
}

failure refusal(const topology_request& request, const core_query& query = never_asked()) {
  auto found = resolve_topology(request, query);
  REQUIRE(found.has_error());
  return found.error();
}

}  // namespace

TEST_CASE("a host of 16 cores has 4 chips of 4, and index and global index agree while no variable is set") {
  auto found = resolved(host_of(16));
  REQUIRE(found.cores.size() == 16);
  EXPECT(found.cores[0] == core_info{0, 0, 0, 0});
  EXPECT(found.cores[14] == core_info{14, 14, 3, 2});
  EXPECT(found.host_cores == 16);
  EXPECT_FALSE(found.needs_locks);
}

TEST_CASE("indices are per process whatever the global index is") {
  auto one = resolved(visible(16, "0-6"));
  auto two = resolved(visible(16, "7-15"));
  EXPECT(one.cores.size() == 7);
  EXPECT(two.cores.size() == 9);
  EXPECT(one.cores[0] == core_info{0, 0, 0, 0});
  EXPECT(two.cores[0] == core_info{0, 7, 1, 3});
  EXPECT(two.cores[7] == core_info{7, 14, 3, 2});
  EXPECT(one.needs_locks);
}

TEST_CASE("the number of host cores is the option, else the variable, else CPUs by threads a core") {
  topology_request request;
  request.usable_cpus = 10;
  request.threads_per_core = 4;
  EXPECT(resolved(request).host_cores == 2);
  request.threads_per_core = 16;
  EXPECT(resolved(request).host_cores == 1);
  request.host_cores_env = "7";
  EXPECT(resolved(request).host_cores == 7);
  request.host_cores = 3;
  EXPECT(resolved(request).host_cores == 3);
  request.host_cores_env = "nonsense";
  EXPECT(resolved(request).host_cores == 3);
}

TEST_CASE("a number of host cores that makes no sense is refused") {
  topology_request request;
  for (const char* text : {"abc", "-1", " 4", "4 ", "4.0", "0x4", "4097", "99999999999999999999999"}) {
    NOTE(text);
    request.host_cores_env = text;
    auto refused = refusal(request);
    EXPECT(refused.code == errc::invalid_argument);
    EXPECT(contains(refused.text, "GANGLION_HOST_CORES=\"" + std::string{text} + '"'));
  }
  EXPECT(refusal(host_of(4097)).code == errc::invalid_argument);
  EXPECT(resolved(host_of(4096)).cores.size() == 4096);
  request = {};
  request.usable_cpus = 1'000'000;
  EXPECT(resolved(request).host_cores == max_host_cores);
  request.threads_per_core = max_threads_per_core + 1;
  EXPECT(contains(refusal(request).text, "threads_per_core is 1025, but a core has at most 1024 threads"));
  request.threads_per_core = 0;
  EXPECT(refusal(request).code == errc::invalid_argument);
}

TEST_CASE("NEURON_RT_VISIBLE_CORES lists cores and ranges in the order given") {
  EXPECT(globals(resolved(visible(8, "3"))) == core_list{3});
  EXPECT(globals(resolved(visible(8, "0-6"))) == core_list{0, 1, 2, 3, 4, 5, 6});
  EXPECT(globals(resolved(visible(8, "0,2,4-5"))) == core_list{0, 2, 4, 5});
  EXPECT(globals(resolved(visible(8, "7,0-1,3-3"))) == core_list{7, 0, 1, 3});
}

TEST_CASE("NEURON_RT_VISIBLE_CORES that cannot be is refused with its value and the host's cores") {
  for (const char* text : {"a",
                           "0,",
                           ",0",
                           "0,,1",
                           "0 ",
                           " 0",
                           "0, 1",
                           "0-",
                           "-1",
                           "-",
                           "0--1",
                           "0-1-2",
                           "3-1",
                           "8",
                           "0-8",
                           "2,2",
                           "0-3,2",
                           "0x1",
                           "0..3",
                           "99999999999999999999999",
                           "0-99999999999999999999999"}) {
    NOTE(text);
    auto refused = refusal(visible(8, text));
    EXPECT(refused.code == errc::invalid_argument);
    EXPECT(contains(refused.text, "NEURON_RT_VISIBLE_CORES=\"" + std::string{text} + '"'));
    EXPECT(contains(refused.text, "8 NeuronCores"));
  }
  EXPECT(contains(refusal(visible(8, "0\n1")).text, "\\n"));
}

TEST_CASE("no core visible is an error that says so") {
  topology_request by_host;
  by_host.host_cores_env = "0";
  topology_request by_empty_host;
  by_empty_host.host_cores_env = "";
  for (const auto& request :
       {visible(4, ""), first(4, ""), first(4, "0"), host_of(0), by_host, by_empty_host}) {
    auto refused = refusal(request);
    EXPECT(refused.code == errc::core_unavailable);
    EXPECT(contains(refused.text, "no NeuronCore is visible: "));
  }
}

TEST_CASE("NEURON_RT_NUM_CORES takes the first free cores and asks for no more than it needs") {
  EXPECT(globals(resolved(first(4, "2"), held_by({}))) == core_list{0, 1});
  EXPECT(globals(resolved(first(8, "3"), held_by({{0, 5}, {2, 5}}))) == core_list{1, 3, 4});
  EXPECT(resolved(first(4, "4"), held_by({})).needs_locks);
  std::size_t asked = 0;
  resolved(first(8, "3"), [&](std::size_t global) -> expected<std::optional<pid_t>> {
    EXPECT(global == asked++);
    return std::optional<pid_t>{};
  });
  EXPECT(asked == 3);
}

TEST_CASE("too few free cores are told with the holders of the others") {
  auto refused = refusal(first(8, "6"), held_by({{0, 41}, {1, 41}, {2, 0}, {5, 41}}));
  EXPECT(refused.code == errc::core_unavailable);
  EXPECT(contains(refused.text, "NEURON_RT_NUM_CORES=6"));
  EXPECT(contains(refused.text, "8 NeuronCores"));
  EXPECT(contains(refused.text, "4 of them are free"));
  EXPECT(contains(refused.text, "process 41 holds 0-1, 5"));
  EXPECT(contains(refused.text, "another process holds 2"));
  EXPECT(refusal(first(8, "9"), held_by({})).code == errc::core_unavailable);
  EXPECT(refusal(first(8, "99999999999999999999999"), held_by({})).code == errc::core_unavailable);
}

TEST_CASE("NEURON_RT_NUM_CORES that is no number is refused") {
  for (const char* text : {"two", "-1", " 2", "2 ", "+2", "2.0", "1-2"}) {
    NOTE(text);
    auto refused = refusal(first(4, text));
    EXPECT(refused.code == errc::invalid_argument);
    EXPECT(contains(refused.text, "NEURON_RT_NUM_CORES=\"" + std::string{text} + '"'));
  }
}

TEST_CASE("NEURON_RT_VISIBLE_CORES wins over NEURON_RT_NUM_CORES") {
  auto request = visible(4, "2-3");
  request.num_cores_env = "nonsense";
  EXPECT(globals(resolved(request)) == core_list{2, 3});
}

TEST_CASE("a question that fails is the answer") { EXPECT(refusal(first(4, "1")).code == errc::io_failed); }

TEST_CASE("the environment is read as it is") {
  ::setenv("NEURON_RT_VISIBLE_CORES", "0-1", 1);
  ::setenv("NEURON_RT_NUM_CORES", "", 1);
  ::unsetenv("GANGLION_HOST_CORES");
  auto request = read_environment();
  EXPECT(request.visible_cores_env == "0-1");
  EXPECT(request.num_cores_env == "");
  EXPECT_FALSE(request.host_cores_env.has_value());
  ::unsetenv("NEURON_RT_VISIBLE_CORES");
  ::unsetenv("NEURON_RT_NUM_CORES");
  EXPECT_FALSE(read_environment().visible_cores_env.has_value());
}

namespace {

/// Every item that a list may have on a host of so many cores, with the cores that it stands for.
std::map<std::string, core_list> possible_items(std::size_t host) {
  std::map<std::string, core_list> items;
  for (std::size_t from = 0; from < host; ++from) {
    core_list cores;
    items[std::to_string(from)] = {from};
    for (std::size_t to = from; to < host; ++to) {
      cores.push_back(to);
      items[std::to_string(from) + '-' + std::to_string(to)] = cores;
    }
  }
  return items;
}

/// `003-04` as `3-4`.
std::string without_leading_zeros(std::string item) {
  auto is_digit = [&](std::size_t at) { return at < item.size() && item[at] >= '0' && item[at] <= '9'; };
  for (std::size_t at = 0; at < item.size();)
    if (item[at] == '0' && is_digit(at + 1) && (at == 0 || !is_digit(at - 1)))
      item.erase(at, 1);
    else
      ++at;
  return item;
}

/// The list's meaning looked up in a table of all there are; nothing where the text is refused.
std::optional<core_list> reference_parse(const std::string& text,
                                         const std::map<std::string, core_list>& items) {
  core_list cores;
  std::string item;
  for (char c : text + ',') {
    if (c != ',') {
      item += c;
      continue;
    }
    auto found = items.find(without_leading_zeros(item));
    if (found == items.end()) return std::nullopt;
    for (auto core : found->second) {
      if (std::find(cores.begin(), cores.end(), core) != cores.end()) return std::nullopt;
      cores.push_back(core);
    }
    item.clear();
  }
  return cores;
}

std::string random_list(std::mt19937& random) {
  std::string text;
  for (auto items = 1 + random() % 3; items > 0; --items) {
    if (!text.empty()) text += ',';
    text += std::to_string(random() % 18);
    if (random() % 2) text += '-' + std::to_string(random() % 18);
  }
  const std::string noise = "0123456789-,, x";
  for (auto edits = random() % 3; edits > 0 && !text.empty(); --edits) {
    auto at = random() % text.size();
    if (random() % 2)
      text.erase(at, 1);
    else
      text.insert(at, 1, noise[random() % noise.size()]);
  }
  return text;
}

}  // namespace

TEST_CASE(
    "any NEURON_RT_VISIBLE_CORES gives exactly the cores that a slow reading of it gives, or is refused") {
  std::mt19937 random{42};
  std::vector<std::map<std::string, core_list>> items;
  for (std::size_t host = 0; host <= 17; ++host) items.push_back(possible_items(host));
  std::size_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    auto text = random_list(random);
    auto host = 1 + random() % 17;
    NOTE(text);
    auto found = resolve_topology(visible(host, text), never_asked());
    auto reference = reference_parse(text, items[host]);
    EXPECT(found.has_value() == reference.has_value());
    if (!found || !reference) continue;
    ++accepted;
    EXPECT(globals(*found) == *reference);
    for (std::size_t i = 0; i < found->cores.size(); ++i) {
      const auto& core = found->cores[i];
      EXPECT(core == core_info{i, core.chip * 4 + core.core, core.global / 4, core.global % 4});
    }
  }
  EXPECT(accepted > 1000);
}

TEST_CASE("any NEURON_RT_NUM_CORES gives the first free cores, or says how many there are") {
  std::mt19937 random{43};
  for (int round = 0; round < 5000; ++round) {
    std::size_t host = 1 + random() % 12;
    std::map<std::size_t, pid_t> holders;
    core_list free;
    for (std::size_t core = 0; core < host; ++core)
      if (random() % 3 == 0)
        holders[core] = static_cast<pid_t>(1 + random() % 3);
      else
        free.push_back(core);
    std::size_t wanted = 1 + random() % 12;
    auto found = resolve_topology(first(host, std::to_string(wanted)), held_by(holders));
    EXPECT(found.has_value() == (wanted <= free.size()));
    if (found)
      EXPECT(globals(*found) == core_list(free.begin(), free.begin() + static_cast<std::ptrdiff_t>(wanted)));
    else
      EXPECT(contains(found.error().text, std::to_string(free.size()) + " of them"));
  }
}

// The threads of an engine and the CPUs that they run on, as forwards and the kernel see them.
#include "counted_calls.hpp"

#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/modules.hpp>
#include <support/watched_forward.hpp>

#include <ganglion/engine/cpu_allowance.hpp>

#include <ATen/Parallel.h>

#include <atomic>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <sched.h>
#include <set>
#include <thread>

using namespace ganglion;
using namespace ganglion::test;
namespace modules = test_modules;

namespace {

std::set<int> cpus_of(pid_t thread) {
  cpu_set_t set;
  REQUIRE(::sched_getaffinity(thread, sizeof set, &set) == 0);
  std::set<int> result;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) result.insert(cpu);
  return result;
}

/// The main thread's affinity for as long as the object lives: that of the process, to an engine that is made then.
class process_on_cpus {
 public:
  explicit process_on_cpus(const std::set<int>& cpus) : before_(cpus_of(::getpid())) { set(cpus); }
  ~process_on_cpus() { set(before_); }

 private:
  static void set(const std::set<int>& cpus) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int cpu : cpus) CPU_SET(cpu, &set);
    REQUIRE(::sched_setaffinity(::getpid(), sizeof set, &set) == 0);
  }

  std::set<int> before_;
};

/// The nanoseconds of CPU that each thread of the process has used.
std::map<pid_t, std::uint64_t> cpu_time_of_threads() {
  std::map<pid_t, std::uint64_t> result;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/task"}) {
    std::ifstream file{entry.path() / "schedstat"};
    std::uint64_t time = 0;
    if (file >> time) result.emplace(std::stoi(entry.path().filename().string()), time);
  }
  return result;
}

std::set<pid_t> threads_of_process() {
  std::set<pid_t> result;
  for (const auto& [thread, time] : cpu_time_of_threads()) result.insert(thread);
  return result;
}

/// The threads that have run parallel regions of each core, by the thread of its lane, and the CPUs that each may use.
class regions {
 public:
  std::map<pid_t, std::map<pid_t, std::set<int>>> of_lanes() const {
    std::lock_guard lock(mutex_);
    return lanes_;
  }
  /// Called inside of a forward.
  void look() {
    const auto lane = ::gettid();
    at::parallel_for(0, 64, 1, [&](std::int64_t, std::int64_t) {
      std::lock_guard lock(mutex_);
      lanes_[lane][::gettid()] = cpus_of(0);
    });
  }

 private:
  mutable std::mutex mutex_;
  std::map<pid_t, std::map<pid_t, std::set<int>>> lanes_;
};

/// Options of an engine that chooses its cores by itself.
engine_options own_choice(const engine_ears& ears) {
  auto options = ears.options(1);
  options.host_cores.reset();
  options.pin = true;
  return options;
}

/// What parallel regions inside of forwards see, after so many rows, a forward each.
std::map<pid_t, std::map<pid_t, std::set<int>>> seen_by(engine& host, std::int64_t rows) {
  data_parallel parallel{host, compiled(watched(), {at::rand({1, 1, 4})})};
  regions seen;
  const forward_watch watch{[&](const at::Tensor&) { seen.look(); }};
  const auto x = at::rand({rows, 1, 4});
  EXPECT(answer(parallel, {x}).equal(x.narrow(2, 0, 1)));
  return seen.of_lanes();
}

std::set<int> all_cpus() {
  const auto allowed = read_cpu_allowance().cpus;
  return {allowed.begin(), allowed.end()};
}

}  // namespace

TEST_CASE("a model that was tuned for other threads than those of the engine's cores says so") {
  const auto tuned = [](std::size_t threads) {
    return trace(modules::plus_one(), {at::ones({2, 3})}, {.threads = threads});
  };
  const auto for_one = tuned(1), for_two = tuned(2);
  engine_ears ears;
  engine host{ears.options(1)};
  data_parallel parallel{host, for_one};
  EXPECT(parallel.warnings().empty());
  parallel.replace(for_two);
  REQUIRE(parallel.warnings().size() == 1);
  EXPECT(contains(parallel.warnings()[0], "tuned for cores of 2 intra-op thread(s), and those of this engine have 1"));
  EXPECT(data_parallel(host, for_two).warnings() == parallel.warnings());
}

TEST_CASE("no thread is made for a request, however it is sent") {
  engine_ears ears;
  auto options = ears.options(2);
  options.threads_per_core = 2;
  options.on_execution = nullptr;
  engine host{options};
  data_parallel parallel{host, compiled(modules::linear(64, 64), {at::rand({64, 64})})};
  const auto send_all = [&parallel](int requests) {
    const auto x = at::rand({3, 64}), large = at::rand({200, 64});
    std::atomic<int> answered{0};
    int sent = 0;
    for (int i = 0; i < requests; i += 4) {
      parallel({i % 100 == 0 ? large : x});
      auto future = parallel.submit({x});
      parallel.start({x}, {}, [&](response&&) { ++answered; });
      parallel.start({x}, {}, [&, post = parallel.poster()](response&&) { post([&] { ++answered; }); });
      sent += 2;
      future.get();
    }
    while (answered < sent) std::this_thread::yield();
  };
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> clients;
  for (int i = 0; i < 2; ++i)
    clients.emplace_back([&] {
      send_all(100);  // what is made once is made now
      ++ready;
      while (!go) std::this_thread::yield();
      send_all(5'000);
    });
  while (ready < 2) std::this_thread::yield();
  const auto before = threads_of_process();
  const calls_since calls;
  go = true;
  for (auto& c : clients) c.join();
  EXPECT(calls().threads_made == 0);
  for (auto thread : threads_of_process()) EXPECT(before.contains(thread));
  REQUIRE(at_rest(host));
  EXPECT(host.status().models.at(0).outcomes[static_cast<std::size_t>(errc::ok)] == 10'200);
}

TEST_CASE("each core is one thread pinned to a CPU of its own among those that the process may use") {
  engine_ears ears;
  engine host{own_choice(ears)};
  const auto allowance = read_cpu_allowance();
  REQUIRE(host.core_count() == allowance.count);
  const auto lanes = seen_by(host, 50 * static_cast<std::int64_t>(allowance.count));
  REQUIRE(lanes.size() == allowance.count);
  std::set<int> used;
  for (const auto& [lane, threads] : lanes) {
    REQUIRE(threads.size() == 1);  // its only intra-op thread is itself
    EXPECT(threads.begin()->first == lane);
    const auto& cpus = threads.begin()->second;
    REQUIRE(cpus.size() == 1);
    EXPECT(used.insert(*cpus.begin()).second);
    EXPECT(all_cpus().contains(*cpus.begin()));
  }
}

TEST_CASE("by default intra-op threads times cores are no more than the CPUs, and each core has a pool of its own") {
  const auto allowance = read_cpu_allowance();
  for (std::size_t threads : {1, 2, 3}) {
    engine_ears ears;
    auto options = own_choice(ears);
    options.threads_per_core = threads;
    engine host{options};
    EXPECT(host.core_count() == std::max<std::size_t>(1, allowance.count / threads));
  }
  // More than the default, so that there are two pools also on two CPUs.
  engine_ears ears;
  auto options = own_choice(ears);
  options.host_cores = 2;
  options.threads_per_core = 2;
  engine host{options};
  const auto lanes = seen_by(host, 200);
  REQUIRE(lanes.size() == 2);
  std::set<pid_t> everybody;
  for (const auto& [lane, threads] : lanes) {
    EXPECT(threads.size() == 2);  // the same two in every region
    EXPECT(threads.contains(lane));
    for (const auto& [thread, cpus] : threads) {
      everybody.insert(thread);
      EXPECT(cpus == threads.at(lane));  // of one core all are pinned to its CPUs
      EXPECT(cpus.size() == std::min<std::size_t>(2, allowance.cpus.size()));
    }
  }
  EXPECT(everybody.size() == 4);
}

TEST_CASE("the option cpus leaves the others to the program") {
  const auto last = *all_cpus().rbegin();
  engine_ears ears;
  auto options = own_choice(ears);
  options.cpus = {last};
  engine host{options};
  EXPECT(host.core_count() == 1);
  for (const auto& [lane, threads] : seen_by(host, 10))
    for (const auto& [thread, cpus] : threads) EXPECT(cpus == std::set<int>{last});
}

TEST_CASE("CPUs that the process is not allowed are not used") {
  const auto first = *all_cpus().begin();
  const process_on_cpus restricted{{first}};
  engine_ears ears;
  engine host{own_choice(ears)};
  EXPECT(host.core_count() == 1);
  for (const auto& [lane, threads] : seen_by(host, 10))
    for (const auto& [thread, cpus] : threads) EXPECT(cpus == std::set<int>{first});
}

TEST_CASE("OpenBLAS multiplies on as many threads as a core has, and on no others") {
  REQUIRE(::dlsym(RTLD_DEFAULT, "openblas_get_num_threads") != nullptr);
  for (int threads : {1, 2}) {
    NOTE("threads a core: ", threads);
    engine_ears ears;
    auto options = ears.options(2);
    options.threads_per_core = static_cast<std::size_t>(threads);
    engine host{options};
    data_parallel parallel{host, compiled(watched(), {at::rand({1, 1, 4})})};
    const auto a = at::rand({512, 512});
    std::mutex mutex;
    std::set<pid_t> lanes;
    const forward_watch watch{[&](const at::Tensor&) {
      at::mm(a, a);
      std::lock_guard lock(mutex);
      lanes.insert(::gettid());
    }};
    answer(parallel, {at::rand({10, 1, 4})});
    const auto before = cpu_time_of_threads();
    answer(parallel, {at::rand({200, 1, 4})});
    auto after = cpu_time_of_threads();
    EXPECT(lanes.size() == 2);
    // Beside the threads of the two cores nobody did a noticeable part of it.
    std::uint64_t all = 0;
    std::vector<std::uint64_t> times;
    for (const auto& [thread, time] : after) {
      const auto found = before.find(thread);
      times.push_back(time - (found == before.end() ? 0 : found->second));
      all += times.back();
    }
    // An even share of four threads is a quarter.
    const auto busy = std::count_if(times.begin(), times.end(), [all](auto time) { return time > all / 10; });
    EXPECT(busy <= 2 * threads);
    EXPECT(busy >= 2);
  }
}

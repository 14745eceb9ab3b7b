#include <ganglion/engine/cpu_ledger.hpp>

#include "number_text.hpp"
#include "process_wide.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

namespace ganglion {

namespace {

struct shared_ledger {
  cpu_ledger ledger;
  unsigned generation = 0;

  void after_fork_in_child() noexcept {
    ledger = {};
    ++generation;
  }
};

using process_ledger = process_wide<shared_ledger>;

}  // namespace

cpu_plan cpu_ledger::book(std::span<const std::size_t> globals, std::size_t threads_per_core,
                          std::span<const int> allowed, const numa_nodes& nodes) {
  cpu_plan plan;
  for (auto global : globals) {
    // The remainders first: the product of two large numbers must not wrap around.
    auto home = (global % allowed.size()) * (threads_per_core % allowed.size()) % allowed.size();
    std::vector<int> order(allowed.size());
    std::rotate_copy(allowed.begin(), allowed.begin() + static_cast<std::ptrdiff_t>(home), allowed.end(),
                     order.begin());
    auto cpus = least_booked(order, threads_per_core);
    // Of the nodes first the one of the CPU that was taken first.
    auto first_place = [&cpus](const std::vector<int>& node) {
      return std::ranges::find_first_of(cpus, node) - cpus.begin();
    };
    std::vector<const std::vector<int>*> in_order;
    for (const auto& node : nodes) in_order.push_back(&node);
    std::ranges::stable_sort(in_order, {}, [&](const auto* node) { return first_place(*node); });
    for (const auto* node : in_order) {
      std::vector<int> inside;
      std::ranges::copy_if(order, std::back_inserter(inside),
                           [node](int cpu) { return std::ranges::count(*node, cpu) > 0; });
      if (inside.size() < threads_per_core) continue;
      auto together = least_booked(std::move(inside), threads_per_core);
      if (booked_on(together) > booked_on(cpus)) continue;
      cpus = std::move(together);
      break;
    }
    for (int cpu : cpus) ++threads_on_[cpu];
    std::sort(cpus.begin(), cpus.end());
    plan.push_back(std::move(cpus));
  }
  return plan;
}

std::vector<int> cpu_ledger::least_booked(std::vector<int> order, std::size_t count) const {
  std::stable_sort(order.begin(), order.end(), [this](int a, int b) { return booked(a) < booked(b); });
  std::vector<int> result;
  // Where they are not enough, every CPU first takes the same number of threads.
  while (count - result.size() > order.size()) result.insert(result.end(), order.begin(), order.end());
  auto rest = static_cast<std::ptrdiff_t>(count - result.size());
  result.insert(result.end(), order.begin(), order.begin() + rest);
  return result;
}

std::size_t cpu_ledger::booked_on(const std::vector<int>& cpus) const {
  std::size_t sum = 0;
  for (int cpu : cpus) sum += booked(cpu);
  return sum;
}

void cpu_ledger::release(const cpu_plan& plan) {
  for (const auto& cpus : plan)
    for (int cpu : cpus)
      if (--threads_on_[cpu] == 0) threads_on_.erase(cpu);
}

std::size_t cpu_ledger::booked(int cpu) const {
  auto found = threads_on_.find(cpu);
  return found == threads_on_.end() ? 0 : found->second;
}

cpu_booking::cpu_booking(std::span<const std::size_t> globals, std::size_t threads_per_core,
                         std::span<const int> allowed, const numa_nodes& nodes) {
  process_ledger::with([&](shared_ledger& shared) {
    plan_ = shared.ledger.book(globals, threads_per_core, allowed, nodes);
    generation_ = shared.generation;
  });
}

cpu_booking::cpu_booking(cpu_booking&& other) noexcept
    : plan_(std::exchange(other.plan_, {})), generation_(other.generation_) {}

cpu_booking& cpu_booking::operator=(cpu_booking&& other) noexcept {
  if (this == &other) return *this;
  release();
  plan_ = std::exchange(other.plan_, {});
  generation_ = other.generation_;
  return *this;
}

cpu_booking::~cpu_booking() { release(); }

void cpu_booking::release() noexcept {
  process_ledger::with([&](shared_ledger& shared) {
    if (generation_ == shared.generation) shared.ledger.release(plan_);
  });
  plan_.clear();
}

expected<std::vector<int>> choose_cpus(std::span<const int> option, std::span<const int> usable) {
  std::vector<int> chosen(option.begin(), option.end());
  if (chosen.empty()) chosen.assign(usable.begin(), usable.end());
  std::sort(chosen.begin(), chosen.end());
  auto refuse = [&](int cpu, std::string_view why) {
    std::vector<std::size_t> numbers(usable.begin(), usable.end());
    return failure{
        errc::invalid_argument,
        fmt::format("the option cpus lists CPU {}{}; list some of those that this process may use: {}", cpu,
                    why, format_ranges(numbers))};
  };
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    if (std::find(usable.begin(), usable.end(), chosen[i]) == usable.end())
      return refuse(chosen[i], ", which this process may not use");
    if (i > 0 && chosen[i] == chosen[i - 1]) return refuse(chosen[i], " twice");
  }
  return chosen;
}

}  // namespace ganglion

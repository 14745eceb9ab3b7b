#include <ganglion/actors/batcher/batch_cover.hpp>

#include <algorithm>
#include <cmath>

namespace ganglion {

namespace {

/// Costs that moved by less than this do not make a new table.
constexpr double worth_a_new_table = 0.1;

/// How much is still believed of what a size took after an execution of another, and after a request was turned away.
constexpr double after_another = 0.999;
constexpr double after_a_refusal = 0.99;

}  // namespace

batch_cover::batch_cover(std::vector<std::int64_t> sizes, bool deterministic)
    : sizes_(std::move(sizes)), deterministic_(deterministic) {}

void batch_cover::measured(std::int64_t size, double seconds) {
  auto [own, is_first] = means_.try_emplace(size);
  own->second.add(seconds);
  if (is_first) return;
  for (auto& [other, mean] : means_)
    if (other != size) mean.doubt(after_another);
}

void batch_cover::doubt() {
  for (auto& [size, mean] : means_) mean.doubt(after_a_refusal);
}

double batch_cover::seconds(std::int64_t size, double fallback) const {
  if (means_.empty()) return fallback;
  auto above = means_.lower_bound(size);
  if (above == means_.end()) return std::prev(above)->second.value_or(fallback);
  return above->second.value_or(fallback);
}

const std::vector<batch_cover::choice>& batch_cover::table() const {
  std::vector<double> now;
  for (auto size : sizes_) now.push_back(seconds(size, 1));
  auto is_close = [](double a, double b) { return std::abs(a - b) <= worth_a_new_table * a; };
  if (std::equal(now.begin(), now.end(), table_seconds_.begin(), table_seconds_.end(), is_close)) return table_;
  table_seconds_ = now;

  std::vector<std::int64_t> padding(static_cast<std::size_t>(largest()) + 1, 0);
  table_.assign(padding.size(), {});
  for (std::int64_t rows = 1; rows <= largest(); ++rows) {
    auto& best = table_[static_cast<std::size_t>(rows)];
    auto& best_padding = padding[static_cast<std::size_t>(rows)];
    for (auto i = sizes_.size(); i-- > 0;) {  // of equal covers the one that runs the largest first
      auto rest = static_cast<std::size_t>(std::max<std::int64_t>(0, rows - sizes_[i]));
      auto cost = now[i] + table_[rest].seconds;
      auto padded = std::max<std::int64_t>(0, sizes_[i] - rows) + padding[rest];
      if (best.size != 0 && (cost > best.seconds || (cost == best.seconds && padded >= best_padding))) continue;
      best = {sizes_[i], cost};
      best_padding = padded;
    }
  }
  return table_;
}

std::int64_t batch_cover::pick(std::int64_t rows) const {
  if (deterministic_ || sizes_.size() == 1) return largest();
  const auto& all = table();
  if (rows <= largest()) return all[static_cast<std::size_t>(rows)].size;
  auto a_row = [this](std::int64_t size) { return seconds(size, 1) / static_cast<double>(size); };
  return *std::min_element(sizes_.rbegin(), sizes_.rend(), [&](auto a, auto b) { return a_row(a) < a_row(b); });
}

std::int64_t batch_cover::fit(std::int64_t rows) const {
  if (deterministic_) return largest();
  auto first = std::lower_bound(sizes_.begin(), sizes_.end(), rows);
  return *std::min_element(first, sizes_.end(), [this](auto a, auto b) { return seconds(a, 1) < seconds(b, 1); });
}

double batch_cover::cost(std::int64_t rows) const {
  if (means_.empty() || rows <= 0) return 0;
  double before = 0;
  if (auto beyond = rows - largest(); beyond > 0) {
    auto size = pick(rows);
    auto executions = (beyond + size - 1) / size;
    before = static_cast<double>(executions) * seconds(size, 0);
    rows = std::max<std::int64_t>(0, rows - executions * size);
  }
  if (rows == 0) return before;
  return before + (deterministic_ ? seconds(largest(), 0) : table()[static_cast<std::size_t>(rows)].seconds);
}

}  // namespace ganglion

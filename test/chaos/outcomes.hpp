#pragma once

#include "process.hpp"

#include <ganglion/actors/protocol/response.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

namespace ganglion::test {

/// What may become of a request. Every one may be lost with a core.
struct expectation {
  at::Tensor answer;
  bool must_fail = false;
  bool may_expire = false;
  bool may_be_cancelled = false;
};

/// The answers to numbered requests, each compared with what may become of it. Any thread.
class outcomes {
 public:
  outcomes(std::size_t count, problems& found) : requests_(count), found_(found) {}

  void expect(std::size_t number, expectation e) { requests_[number].expected = std::move(e); }

  void answered(std::size_t number, const response& r) {
    auto& one = requests_[number];
    found_.expect(one.answers.fetch_add(1) == 0, "a request was answered twice");
    judge(one.expected, r);
    counts_[static_cast<std::size_t>(r.code())] += 1;
    one.expected.answer = at::Tensor{};
    ++answered_;
    std::lock_guard lock(mutex_);
    changed_.notify_all();
  }

  /// Waits until of the first `sent` fewer than `most` are unanswered; ends the process where nothing moves any more.
  void wait_for_less_than(std::size_t most, std::size_t sent) {
    std::unique_lock lock(mutex_);
    while (sent - answered_ >= most) {
      auto before = answered_.load();
      if (changed_.wait_for(lock, std::chrono::minutes(1)) == std::cv_status::no_timeout || answered_ != before)
        continue;
      fmt::print(stderr, "chaos: {} of {} requests are unanswered, and none was for a minute\n", sent - before, sent);
      std::_Exit(3);
    }
  }

  /// That at least this share of all requests, 0 to 1, ended like this.
  void expect_share(errc code, double least) const {
    const auto count = counts_[static_cast<std::size_t>(code)].load();
    const auto share = static_cast<double>(count) / static_cast<double>(requests_.size());
    found_.expect(share >= least, fmt::format("only {:.2f} % of the requests ended with {}, at least {:.2f} % should",
                                              100 * share, to_string(code), 100 * least));
  }

  /// That no more requests than that ended like this.
  void expect_at_most(errc code, std::size_t most) const {
    const auto count = counts_[static_cast<std::size_t>(code)].load();
    found_.expect(count <= most,
                  fmt::format("{} requests ended with {}, at most {} should", count, to_string(code), most));
  }

  std::string summary() const {
    std::string text;
    for (std::size_t code = 0; code < counts_.size(); ++code)
      if (counts_[code] > 0)
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", counts_[code].load(),
                            to_string(static_cast<errc>(code)));
    return fmt::format("{} requests: {}", requests_.size(), text);
  }

 private:
  struct one_request {
    expectation expected;
    std::atomic<int> answers{0};
  };

  void judge(const expectation& e, const response& r) {
    switch (r.code()) {
      case errc::ok:
        found_.expect(!e.must_fail, "a request with a marked row was answered");
        found_.expect(at::equal(r.outputs.toTensor(), e.answer), "an answer is not that of the request's rows");
        break;
      case errc::forward_failed: found_.expect(e.must_fail, "a neighbour failed: " + r.text()); break;
      case errc::deadline_exceeded: found_.expect(e.may_expire, "a deadline that nobody gave: " + r.text()); break;
      case errc::cancelled: found_.expect(e.may_be_cancelled, "nobody cancelled: " + r.text()); break;
      case errc::core_lost: break;
      default: found_.expect(false, fmt::format("{}: {}", to_string(r.code()), r.text()));
    }
  }

  std::vector<one_request> requests_;
  problems& found_;
  std::array<std::atomic<std::size_t>, errc_count> counts_{};
  std::atomic<std::size_t> answered_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace ganglion::test

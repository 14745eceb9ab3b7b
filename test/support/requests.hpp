#pragma once

#include <support/modules.hpp>

#include <ganglion/actors/coordinator/request.hpp>

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <vector>

namespace ganglion::test {

/// x + 1 for [batch, 2], traced once for each batch.
inline const compiled_model& plus_one_model(std::int64_t batch = 4) {
  static std::map<std::int64_t, compiled_model> models;
  auto found = models.find(batch);
  if (found == models.end())
    found = models.emplace(batch, trace(test_modules::plus_one(), {at::zeros({batch, 2})}, {auto_cast::none, false}))
                .first;
  return found->second;
}

inline std::shared_ptr<const deployment> deployment_of(const compiled_model& model, std::uint64_t id,
                                                       std::vector<std::size_t> cores, std::int64_t dim = 0) {
  return std::make_shared<const deployment>(
      deployment{id, model, make_program_set(model, dim).value(), std::move(cores), {}});
}

/// A deployment of x + 1 with buckets of any batch sizes, in ascending order, for whoever runs no program.
inline std::shared_ptr<const deployment> deployment_of_buckets(const std::vector<std::vector<std::int64_t>>& buckets,
                                                               std::uint64_t id, std::vector<std::size_t> cores,
                                                               coalescing_options options = {}) {
  auto d = *deployment_of(plus_one_model(), id, std::move(cores));
  d.coalescing = options;
  d.programs.buckets.resize(buckets.size(), d.programs.buckets.front());
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    auto& b = d.programs.buckets[i];
    b.rule.compiled_size = buckets[i].back();
    b.programs.assign(buckets[i].size(), 0);
    b.sizes = buckets[i];
  }
  return std::make_shared<const deployment>(std::move(d));
}

inline std::shared_ptr<const deployment> deployment_of_batches(std::vector<std::int64_t> batches, std::uint64_t id,
                                                               std::vector<std::size_t> cores) {
  return deployment_of_buckets({std::move(batches)}, id, std::move(cores));
}

inline std::shared_ptr<const deployment> deployment_of_batch(std::int64_t batch, std::uint64_t id,
                                                             std::vector<std::size_t> cores) {
  return deployment_of_batches({batch}, id, std::move(cores));
}

/// x + 1 for several compiled shapes.
inline compiled_model plus_one_for(const std::vector<std::vector<std::int64_t>>& shapes) {
  trace_options options;
  options.tune = false;
  for (std::size_t i = 1; i < shapes.size(); ++i) options.more_examples.push_back({at::zeros(shapes[i])});
  return trace(test_modules::plus_one(), {at::zeros(shapes.front())}, options);
}

/// [rows, 2], every element its own number.
inline at::Tensor numbered_rows(std::int64_t rows, std::int64_t first = 0) {
  return at::arange(first * 2, (first + rows) * 2, at::kFloat).view({rows, 2});
}

/// The answers that a sink got.
struct answers {
  std::vector<response> all;

  bool once() const { return all.size() == 1; }
  const response& only() const { return all.at(0); }
};

/// An admitted request for `rows` numbered rows, perhaps with values beside them, and where its answer comes.
struct sent_request {
  std::shared_ptr<answers> got = std::make_shared<answers>();
  request_ptr value;
  std::uint64_t id = 0;
};

inline sent_request make_request(const std::shared_ptr<const deployment>& target, std::int64_t rows,
                                 std::shared_ptr<admission> gate = std::make_shared<admission>(),
                                 std::int64_t first = 0, request_options options = {}, std::size_t bucket = 0,
                                 const std::vector<c10::IValue>& beside = {}) {
  sent_request r;
  checked_inputs inputs{{numbered_rows(rows, first)}, rows, bucket};
  inputs.leaves.insert(inputs.leaves.end(), beside.begin(), beside.end());
  r.value = request::admit(request::next_id(), target, std::move(inputs), std::move(gate),
                           [got = r.got](response&& o) { got->all.push_back(std::move(o)); }, std::move(options))
                .value();
  r.id = r.value->id();
  return r;
}

}  // namespace ganglion::test

#include <ganglion/model_io/program_set.hpp>

#include <ganglion/model_io/value_tree.hpp>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace ganglion {

namespace {

failure bad_padding(std::string text) { return {errc::invalid_argument, std::move(text)}; }

std::int64_t size_at(const std::vector<tensor_spec>& specs, tensor_axis where) {
  return specs[where.tensor].shape[where.axis];
}

/// All sizes of a program's inputs but those that are scattered.
std::vector<std::int64_t> key_of(const signature& sig, const scatter_rule& rule) {
  std::vector<std::int64_t> key;
  for (std::size_t i = 0; i < sig.inputs.size(); ++i)
    for (std::size_t d = 0; d < sig.inputs[i].shape.size(); ++d)
      if (static_cast<std::int64_t>(d) != rule.axis[i]) key.push_back(sig.inputs[i].shape[d]);
  return key;
}

/// The dimensions, beside the scattered ones, in which some program differs from the first.
template <class SpecsOf>
std::vector<tensor_axis> differing(const compiled_model& model, const std::vector<std::int64_t>& scattered,
                                   SpecsOf specs_of) {
  std::vector<tensor_axis> result;
  const auto& first = specs_of(model.signature());
  for (std::size_t i = 0; i < first.size(); ++i)
    for (std::size_t d = 0; d < first[i].shape.size(); ++d) {
      if (static_cast<std::int64_t>(d) == scattered[i]) continue;
      for (std::size_t p = 1; p < model.program_count(); ++p)
        if (specs_of(model.signature(p))[i].shape[d] != first[i].shape[d]) {
          result.push_back({i, d});
          break;
        }
    }
  return result;
}

const std::vector<tensor_spec>& inputs_of(const signature& sig) { return sig.inputs; }
const std::vector<tensor_spec>& outputs_of(const signature& sig) { return sig.outputs; }

/// Whether two dimensions are equally long in every program.
template <class A, class B>
bool always_equal(const compiled_model& model, A a, B b) {
  for (std::size_t p = 0; p < model.program_count(); ++p)
    if (a(model.signature(p)) != b(model.signature(p))) return false;
  return true;
}

void add_varying(program_set& set, const compiled_model& model) {
  for (auto where : differing(model, set.rule().axis, inputs_of)) {
    auto same_as = set.varying.size();
    for (std::size_t i = 0; i < set.varying.size() && same_as == set.varying.size(); ++i)
      if (always_equal(
              model, [&](const auto& sig) { return size_at(sig.inputs, where); },
              [&](const auto& sig) { return size_at(sig.inputs, set.varying[i].where); }))
        same_as = set.varying[i].same_as;
    set.varying.push_back({where, same_as});
  }
  for (auto& b : set.buckets)
    for (const auto& v : set.varying) b.lengths.push_back(size_at(model.signature(b.programs.front()).inputs, v.where));
}

expected<void> add_trimmed(program_set& set, const compiled_model& model) {
  for (auto where : differing(model, set.rule().out_axis, outputs_of)) {
    auto same = std::find_if(set.varying.begin(), set.varying.end(), [&](const auto& v) {
      return always_equal(
          model, [&](const auto& sig) { return size_at(sig.outputs, where); },
          [&](const auto& sig) { return size_at(sig.inputs, v.where); });
    });
    if (same == set.varying.end())
      return bad_padding(fmt::format(
          "pad_values are given, but dim {} of output {} differs between the programs and is none of the sizes that "
          "are padded, so that the padding could not be trimmed from it: send what fits a program exactly",
          where.axis, model.outputs()[where.tensor].name));
    set.trimmed.push_back({where, static_cast<std::size_t>(same - set.varying.begin())});
  }
  return {};
}

bool is_value_of(double value, at::ScalarType dtype) {
  if (dtype == at::kBool) return value == 0 || value == 1;
  if (!c10::isIntegralType(dtype, false)) return true;
  const auto bits = 8 * static_cast<int>(c10::elementSize(dtype)) - (dtype == at::kByte ? 0 : 1);
  return std::trunc(value) == value && std::abs(value) < std::exp2(bits) && (dtype != at::kByte || value >= 0);
}

/// Fills in the padding of a set.
expected<void> add_padding(program_set& set, const compiled_model& model, std::vector<double> values) {
  const auto& inputs = model.inputs();
  if (values.size() == 1) values.resize(inputs.size(), values.front());
  if (values.size() != inputs.size())
    return bad_padding(
        fmt::format("{} pad_values are given, but the model has {} tensor inputs: give one for all of them, "
                    "or one for each",
                    values.size(), inputs.size()));
  if (!set.rule().is_batch_dim)
    return bad_padding(fmt::format("pad_values are given, but dim is {}: only what is scattered along dim 0 is padded",
                                   set.rule().dim));
  if (set.varying.empty())
    return bad_padding(
        "pad_values are given, but all programs of the model take the same sizes: compile it for several sizes, or "
        "leave pad_values empty");
  for (const auto& v : set.varying)
    if (const auto& spec = inputs[v.where.tensor]; !is_value_of(values[v.where.tensor], spec.dtype))
      return bad_padding(fmt::format("the pad value {} of input {} is no value of its dtype {}: give one that is",
                                     values[v.where.tensor], spec.name, to_string(spec.dtype, {})));
  if (auto good = add_trimmed(set, model); !good) return good;
  set.pad_values = std::move(values);
  return {};
}

/// The first place where two programs of equal number differ in more than names; empty: nowhere.
std::string difference(const signature& served, const signature& given) {
  if (given.example.size() != served.example.size())
    return fmt::format("forward takes {} arguments, not {}", given.example.size(), served.example.size());
  for (std::size_t i = 0; i < served.example.size(); ++i)
    if (auto same = same_structure(served.example[i], given.example[i], served.argument_names[i]); !same)
      return same.error().text;
  if (auto same = same_structure(served.result, given.result, "output"); !same) return same.error().text;
  const std::pair<const std::vector<tensor_spec>*, const std::vector<tensor_spec>*> both[] = {
      {&served.inputs, &given.inputs}, {&served.outputs, &given.outputs}};
  for (const auto& [old_specs, new_specs] : both)
    for (std::size_t i = 0; i < old_specs->size(); ++i) {
      const auto &a = (*old_specs)[i], &b = (*new_specs)[i];
      if (a.dtype != b.dtype || a.shape != b.shape)
        return fmt::format("{} is {}, not {}", a.name, to_string(b), to_string(a));
    }
  return {};
}

std::string lengths_text(const program_set& set) {
  std::vector<std::string> all;
  for (const auto& b : set.buckets) all.push_back(fmt::format("{}", fmt::join(b.lengths, " x ")));
  return fmt::format("{}", fmt::join(all, ", "));
}

/// Where the sizes of a request may be other than the first program's.
std::vector<std::vector<bool>> varying_mask(const compiled_model& model, const program_set& set) {
  std::vector<std::vector<bool>> mask;
  for (const auto& spec : model.inputs()) mask.emplace_back(spec.shape.size(), false);
  for (const auto& v : set.varying) mask[v.where.tensor][v.where.axis] = true;
  return mask;
}

std::vector<std::int64_t> lengths_of(const program_set& set, const std::vector<c10::IValue>& leaves) {
  std::vector<const at::Tensor*> tensors;
  for (const auto& leaf : leaves)
    if (leaf.isTensor()) tensors.push_back(&leaf.toTensor());
  std::vector<std::int64_t> lengths;
  for (const auto& v : set.varying)
    lengths.push_back(tensors[v.where.tensor]->size(static_cast<std::int64_t>(v.where.axis)));
  return lengths;
}

bool holds(const program_bucket& b, const std::vector<std::int64_t>& lengths) {
  return std::equal(lengths.begin(), lengths.end(), b.lengths.begin(), std::less_equal<>());
}

/// The elements that a bucket adds to the dimensions that vary, as a product: what "smallest" means.
double volume(const program_bucket& b) {
  double result = 1;
  for (auto length : b.lengths) result *= static_cast<double>(length);
  return result;
}

failure fits_none(const compiled_model& model, const program_set& set, const std::vector<std::int64_t>& lengths) {
  std::vector<std::string> where;
  for (const auto& v : set.varying)
    where.push_back(fmt::format("dim {} of input {}", v.where.axis, model.inputs()[v.where.tensor].name));
  const auto advice = set.pad_values.empty() ? "send one of these, or set pad_values to have shorter ones padded"
                                             : "send no more than the largest of these";
  return {errc::shape_mismatch,
          fmt::format("the request has {} along {}, but the model was compiled for {}: {}", fmt::join(lengths, " x "),
                      fmt::join(where, ", "), lengths_text(set), advice)};
}

expected<void> check_ties(const compiled_model& model, const program_set& set,
                          const std::vector<std::int64_t>& lengths) {
  for (std::size_t i = 0; i < lengths.size(); ++i)
    if (auto first = set.varying[i].same_as; lengths[i] != lengths[first]) {
      const auto a = set.varying[first].where, b = set.varying[i].where;
      return failure{
          errc::shape_mismatch,
          fmt::format("dim {} of input {} is {}, but dim {} of input {} is {}: they are equal in every program, "
                      "so give equal ones",
                      a.axis, model.inputs()[a.tensor].name, lengths[first], b.axis, model.inputs()[b.tensor].name,
                      lengths[i])};
    }
  return {};
}

}  // namespace

std::size_t program_bucket::program_of(std::int64_t size) const {
  return programs[static_cast<std::size_t>(std::lower_bound(sizes.begin(), sizes.end(), size) - sizes.begin())];
}

expected<program_set> make_program_set(const compiled_model& model, std::int64_t dim, std::vector<double> pad_values) {
  program_set set;
  std::map<std::vector<std::int64_t>, std::size_t> by_key;
  for (std::size_t p = 0; p < model.program_count(); ++p) {
    auto rule = make_scatter_rule(model.signature(p), dim);
    if (!rule) return rule.error();
    auto [found, is_new] = by_key.try_emplace(key_of(model.signature(p), *rule), set.buckets.size());
    if (is_new) set.buckets.emplace_back();
    auto& b = set.buckets[found->second];
    auto place = std::lower_bound(b.sizes.begin(), b.sizes.end(), rule->compiled_size);
    b.programs.insert(b.programs.begin() + (place - b.sizes.begin()), p);
    b.sizes.insert(place, rule->compiled_size);
    if (b.sizes.back() == rule->compiled_size) b.rule = std::move(*rule);
  }
  add_varying(set, model);
  if (pad_values.empty()) return set;
  if (auto good = add_padding(set, model, std::move(pad_values)); !good) return good.error();
  return set;
}

expected<checked_inputs> match_inputs(const compiled_model& model, const program_set& set,
                                      const std::vector<c10::IValue>& inputs) {
  if (set.buckets.size() == 1) return check_inputs(model.signature(), set.rule(), inputs);
  const auto mask = varying_mask(model, set);
  auto checked = check_inputs(model.signature(), set.rule(), inputs, &mask);
  if (!checked) return checked;
  const auto lengths = lengths_of(set, checked->leaves);
  for (std::size_t i = 0; i < set.buckets.size(); ++i)
    if (set.buckets[i].lengths == lengths) {
      checked->bucket = i;
      return checked;
    }
  if (set.pad_values.empty()) return fits_none(model, set, lengths);
  if (auto tied = check_ties(model, set, lengths); !tied) return tied.error();
  const program_bucket* best = nullptr;
  for (const auto& b : set.buckets)
    if (holds(b, lengths) && (best == nullptr || volume(b) < volume(*best))) best = &b;
  if (best == nullptr) return fits_none(model, set, lengths);
  checked->bucket = static_cast<std::size_t>(best - set.buckets.data());
  checked->padded = true;
  for (const auto& t : set.trimmed) checked->trims.push_back({t.where.tensor, t.where.axis, lengths[t.as]});
  return checked;
}

std::vector<tensor_spec> answer_specs(const compiled_model& model, const program_set& set,
                                      const checked_inputs& inputs) {
  auto specs = model.signature(set.buckets[inputs.bucket].programs.front()).outputs;
  for (auto& spec : specs)
    if (!spec.shape.empty()) spec.shape[0] = inputs.rows;
  for (const auto& t : inputs.trims) specs[t.output].shape[t.axis] = t.size;
  return specs;
}

expected<void> check_beside(const signature& one, const signature& other) {
  const auto refuse = [](std::string text) { return failure{errc::invalid_argument, std::move(text)}; };
  if (one.example.size() != other.example.size())
    return refuse(fmt::format("the examples have {} and {} arguments: all must have the same", one.example.size(),
                              other.example.size()));
  for (std::size_t i = 0; i < one.example.size(); ++i)
    if (auto same = same_structure(one.example[i], other.example[i], one.argument_names[i]); !same)
      return refuse(fmt::format("the examples differ in more than sizes: {}", same.error().text));
  if (auto same = same_structure(one.result, other.result, "output"); !same)
    return refuse(fmt::format("the model's outputs for the examples differ in more than sizes: {}", same.error().text));
  bool differ = false;
  const std::pair<const std::vector<tensor_spec>*, const std::vector<tensor_spec>*> both[] = {
      {&one.inputs, &other.inputs}, {&one.outputs, &other.outputs}};
  for (const auto& [ours, theirs] : both)
    for (std::size_t i = 0; i < ours->size(); ++i) {
      const auto &a = (*ours)[i], &b = (*theirs)[i];
      if (a.dtype != b.dtype || a.shape.size() != b.shape.size())
        return refuse(fmt::format("{} is {} for one example and {} for another: examples may differ in sizes only",
                                  a.name, to_string(a), to_string(b)));
      differ = differ || (ours == &one.inputs && a.shape != b.shape);
    }
  if (!differ)
    return refuse(fmt::format("two examples have the same sizes ({}): give each once",
                              to_string(one.inputs.front())));
  return {};
}

expected<void> check_same_signature(const compiled_model& served, const compiled_model& given) {
  const auto refuse = [](std::string what) {
    return failure{errc::shape_mismatch,
                   fmt::format("the model cannot replace the one that serves: {}; trace it for the same sizes", what)};
  };
  if (given.program_count() != served.program_count())
    return refuse(fmt::format("it has {} programs, not {}", given.program_count(), served.program_count()));
  for (std::size_t p = 0; p < served.program_count(); ++p)
    if (auto what = difference(served.signature(p), given.signature(p)); !what.empty())
      return refuse(p == 0 ? what : fmt::format("in its program {} {}", p, what));
  if (served.not_eligible().empty() && !given.not_eligible().empty())
    return failure{errc::unsupported_model,
                   fmt::format("the model cannot replace the one that serves, whose rows are independent: {}",
                               given.not_eligible())};
  return {};
}

}  // namespace ganglion

#include "storage_check.hpp"

#include "stored_tensor.hpp"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <string_view>

namespace ganglion {

namespace {

using kind = pickle_item::kind;
using caffe2::serialize::PyTorchStreamReader;

failure refuse(std::string why) { return {errc::model_load_failed, std::move(why)}; }

/// Of `torch.FloatStorage` and its like, for every element type there is.
std::optional<at::ScalarType> storage_dtype(std::string_view class_name) {
  for (int i = 0; i < static_cast<int>(at::ScalarType::NumOptions); ++i)
    if (const auto dtype = static_cast<at::ScalarType>(i);
        dtype != at::ScalarType::Undefined && class_name == fmt::format("torch.{}Storage", c10::toString(dtype)))
      return dtype;
  return {};
}

/// Several elements of these types are in one byte.
std::size_t elements_a_byte(at::ScalarType dtype) {
  return dtype == at::kQUInt4x2 ? 2 : dtype == at::kQUInt2x4 ? 4 : 1;
}

struct stored {
  at::ScalarType dtype;
  std::size_t bytes;
};

/// Looks at what one pickle of the archive makes, and keeps the first failure.
class pickle_check {
 public:
  pickle_check(PyTorchStreamReader& archive, std::string name) : archive_(archive), name_(std::move(name)) {}

  expected<void> run() {
    const auto [pickle, size] = archive_.getRecord(name_ + ".pkl");
    const auto item =
        read_pickle({static_cast<const char*>(pickle.get()), size}, [this](const pickle_item& made) { look_at(made); });
    if (!item) return refuse(fmt::format("is damaged: its record {}.pkl cannot be read: {}", name_, item.error().text));
    if (problem_) return *problem_;
    return {};
  }

 private:
  void look_at(const pickle_item& made) {
    if (problem_) return;
    const auto good = made.what == kind::reference ? check_reference(made) : check_call(made);
    if (!good) problem_ = good.error();
  }

  expected<void> check_reference(const pickle_item& reference) {
    auto storage = storage_of(reference);
    if (!storage) return storage.error();
    return {};
  }

  expected<void> check_call(const pickle_item& call) {
    const auto& callee = call.parts[0]->text;
    if (callee != "torch._utils._rebuild_tensor_v2" && callee != "torch._utils._rebuild_qtensor") return {};
    const auto& arguments = call.parts[1]->parts;
    const auto extent = extent_of(arguments);
    if (!extent || arguments[0]->what != kind::reference) return malformed("tensor");
    const auto storage = storage_of(*arguments[0]);
    if (!storage) return storage.error();
    const auto end = reach(storage->dtype, *extent);
    const auto shared = elements_a_byte(storage->dtype);
    if (!end || (*end + shared - 1) / shared > storage->bytes)
      return refuse(fmt::format("is damaged: a tensor's {}", not_within(*extent, storage->bytes)));
    return {};
  }

  /// From the reference ('storage', class, key, device, number of elements).
  expected<stored> storage_of(const pickle_item& reference) {
    const auto& parts = reference.parts[0]->parts;
    if (parts.size() != 5 || parts[4]->what != kind::integer) return malformed("storage");
    const auto dtype = storage_dtype(parts[1]->text);
    std::int64_t bytes = 0;
    if (!dtype || parts[4]->number < 0 ||
        __builtin_mul_overflow(parts[4]->number, static_cast<std::int64_t>(c10::elementSize(*dtype)), &bytes))
      return malformed("storage");
    const auto wanted = static_cast<std::size_t>(bytes);
    if (wanted > 0) {
      const auto there = record_size(parts[2]->text);
      if (!there) return there.error();
      if (*there < wanted)
        return refuse(fmt::format("is damaged: its record {}/{} has {} bytes, but its tensors need {}", name_,
                                  parts[2]->text, *there, wanted));
    }
    return stored{*dtype, wanted};
  }

  /// The reader tells no size without the bytes.
  expected<std::size_t> record_size(const std::string& key) {
    auto found = sizes_.find(key);
    if (found == sizes_.end()) {
      const auto record = fmt::format("{}/{}", name_, key);
      if (!archive_.hasRecord(record)) return refuse(fmt::format("is damaged: it has no record {}", record));
      found = sizes_.emplace(key, std::get<1>(archive_.getRecord(record))).first;
    }
    return found->second;
  }

  failure malformed(std::string_view what) const {
    return refuse(fmt::format("is damaged: its record {}.pkl describes a {} that cannot be", name_, what));
  }

  PyTorchStreamReader& archive_;
  std::string name_;
  std::map<std::string, std::size_t> sizes_;
  std::optional<failure> problem_;
};

}  // namespace

expected<void> check_storages(PyTorchStreamReader& archive) {
  for (const char* name : {"constants", "data"}) {
    if (!archive.hasRecord(fmt::format("{}.pkl", name)))
      return refuse(fmt::format("is damaged: it has no record {}.pkl", name));
    if (auto good = pickle_check{archive, name}.run(); !good) return good;
  }
  return {};
}

}  // namespace ganglion

#include "torch_file.hpp"

#include "pickle_reader.hpp"
#include "raw_tensor.hpp"
#include "stored_tensor.hpp"

#include <ganglion/model_io/tensor_spec.hpp>

#include <ATen/ATen.h>
#include <caffe2/serialize/inline_container.h>
#include <fmt/format.h>

#include <array>
#include <map>
#include <optional>
#include <string_view>

namespace ganglion {

namespace {

using kind = pickle_item::kind;

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 12> storage_classes{{
    {"torch.FloatStorage", at::kFloat},
    {"torch.DoubleStorage", at::kDouble},
    {"torch.HalfStorage", at::kHalf},
    {"torch.BFloat16Storage", at::kBFloat16},
    {"torch.CharStorage", at::kChar},
    {"torch.ShortStorage", at::kShort},
    {"torch.IntStorage", at::kInt},
    {"torch.LongStorage", at::kLong},
    {"torch.ByteStorage", at::kByte},
    {"torch.BoolStorage", at::kBool},
    {"torch.ComplexFloatStorage", at::kComplexFloat},
    {"torch.ComplexDoubleStorage", at::kComplexDouble},
}};

/// Tuples may share their parts, so that a small file can stand for any number of tensors, or of empty tuples.
constexpr std::size_t most_values = 100'000;

failure refuse(std::string why) { return {errc::invalid_argument, std::move(why)}; }

/// Builds tensors from the items of one archive.
class tensor_builder {
 public:
  explicit tensor_builder(caffe2::serialize::PyTorchStreamReader& archive) : archive_(archive) {}

  expected<c10::IValue> build(const pickle_item& item, const std::string& place) {
    if (++values_ > most_values) return refuse(fmt::format("it holds more than {} tensors and tuples", most_values));
    if (item.what == kind::tuple) return build_tuple(item, place);
    if (auto arguments = tensor_arguments(item)) {
      auto tensor = build_tensor(arguments->parts);
      if (!tensor)
        return refuse(fmt::format("{} is a tensor that cannot be read: {}", place, tensor.error().text));
      return c10::IValue(*tensor);
    }
    auto hint = item.what == kind::list && place == "it" ? ": save tuple(...) of it" : "";
    return refuse(fmt::format("{} holds {}, but a tensor or a tuple of tensors is wanted{}", place,
                              describe(item), hint));
  }

 private:
  expected<c10::IValue> build_tuple(const pickle_item& item, const std::string& place) {
    std::vector<c10::IValue> elements;
    for (std::size_t i = 0; i < item.parts.size(); ++i) {
      auto element =
          build(*item.parts[i], fmt::format("element {} of {}", i, place == "it" ? "its tuple" : place));
      if (!element) return element;
      elements.push_back(std::move(*element));
    }
    return c10::IValue(c10::ivalue::Tuple::create(std::move(elements)));
  }

  /// The arguments of `_rebuild_tensor_v2` in an item that makes a tensor by it, also as a parameter of a
  /// module.
  static const pickle_item* tensor_arguments(const pickle_item& item) {
    if (item.what != kind::call || item.parts[1]->what != kind::tuple) return nullptr;
    const std::string& callee = item.parts[0]->text;
    const auto& arguments = item.parts[1]->parts;
    if (callee == "torch._utils._rebuild_tensor_v2") return item.parts[1].get();
    if (callee.starts_with("torch._utils._rebuild_parameter") && !arguments.empty())
      return tensor_arguments(*arguments[0]);
    if (callee == "torch._tensor._rebuild_from_type_v2" && arguments.size() == 4)
      return tensor_arguments({.what = kind::call, .parts = {arguments[0], arguments[2]}});
    return nullptr;
  }

  /// From (storage, offset, sizes, strides, requires_grad, hooks, metadata); the last may be missing.
  expected<at::Tensor> build_tensor(const std::vector<pickle_item_ptr>& arguments) {
    auto extent = extent_of(arguments);
    if (!extent) return refuse("its description is malformed");
    if (arguments.size() > 6 && arguments[6]->number > 0) return refuse("it is a conjugated or negated view");

    auto dtype = storage_dtype(*arguments[0]);
    if (!dtype) return dtype.error();
    auto storage = storage_of(arguments[0]->parts[0]->parts[2]->text, *dtype);
    if (!storage) return storage.error();
    auto end = reach(*dtype, *extent);
    if (!end || *end > storage->nbytes()) return refuse(not_within(*extent, storage->nbytes()));
    return at::empty({0}, at::TensorOptions().dtype(*dtype))
        .set_(*storage, extent->offset, extent->sizes, extent->strides);
  }

  /// From the reference ('storage', class, key, device, number of elements).
  static expected<at::ScalarType> storage_dtype(const pickle_item& reference) {
    if (reference.what != kind::reference || reference.parts[0]->parts.size() < 3)
      return refuse("it has no storage");
    const std::string& name = reference.parts[0]->parts[1]->text;
    for (const auto& [class_name, dtype] : storage_classes)
      if (class_name == name) return dtype;
    return refuse(fmt::format("its storage is a {}, which is not supported", name));
  }

  expected<c10::Storage> storage_of(const std::string& key, at::ScalarType dtype) {
    auto found = storages_.find(key);
    if (found == storages_.end()) {
      auto record = "data/" + key;
      if (!archive_.hasRecord(record)) return refuse(fmt::format("its storage '{}' is missing", key));
      auto [data, size] = archive_.getRecord(record);
      c10::Storage storage(c10::Storage::use_byte_size_t{}, size, std::move(data), nullptr,
                           /*resizable=*/false);
      found = storages_.emplace(key, std::move(storage)).first;
    }
    if (dtype == at::kBool) tidy_bools(static_cast<char*>(found->second.data()), found->second.nbytes());
    return found->second;
  }

  caffe2::serialize::PyTorchStreamReader& archive_;
  std::map<std::string, c10::Storage> storages_;
  std::size_t values_ = 0;
};

/// Nothing where the archive may hold tensors.
std::optional<failure> wrong_archive(caffe2::serialize::PyTorchStreamReader& archive) {
  if (archive.hasRecord("constants.pkl"))
    return refuse("it holds a TorchScript model, but a tensor or a tuple of tensors is wanted");
  if (!archive.hasRecord("data.pkl")) return refuse("it is a zip archive that torch.save did not write");
  if (archive.hasRecord("byteorder")) {
    auto [data, size] = archive.getRecord("byteorder");
    if (std::string_view(static_cast<const char*>(data.get()), size) != "little")
      return refuse("its tensors are big-endian: save them on a little-endian machine");
  }
  return {};
}

}  // namespace

expected<c10::IValue> read_torch_file(const std::filesystem::path& path) try {
  caffe2::serialize::PyTorchStreamReader archive(path.native());
  if (auto wrong = wrong_archive(archive)) return *wrong;
  auto [pickle, size] = archive.getRecord("data.pkl");
  auto item = read_pickle({static_cast<const char*>(pickle.get()), size});
  if (!item) return item.error();
  return tensor_builder(archive).build(**item, "it");
} catch (const std::exception&) {
  // The reader of archives throws, with its own sources' names in the text.
  return refuse(
      "it is no whole zip archive of torch.save's: it is truncated or damaged, or something else wrote it");
}

}  // namespace ganglion

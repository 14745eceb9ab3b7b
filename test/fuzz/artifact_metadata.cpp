// The metadata of an artifact: signatures and manifest, which a stranger may have written. The input: what it is (1
// byte), then the text.
#include "fuzz.hpp"

#include <model_io/src/manifest.hpp>
#include <model_io/src/signature_json.hpp>

using namespace ganglion;
using fuzz::require;

namespace {

const auto tensor_type = c10::TensorType::get();

/// What forward declares: plain tensors, or containers of many kinds.
const std::vector<c10::TypePtr>& types(bool plain) {
  static const std::vector<c10::TypePtr> two{tensor_type, tensor_type};
  static const std::vector<c10::TypePtr> containers{
      c10::TupleType::create({tensor_type, c10::TupleType::create({tensor_type, c10::BoolType::get()})}),
      c10::OptionalType::create(c10::ListType::create(tensor_type)),
      c10::DictType::create(c10::StringType::get(), tensor_type), c10::AnyType::get()};
  return plain ? two : containers;
}

c10::TypePtr result_type(bool plain) {
  if (plain) return tensor_type;
  return c10::TupleType::create({tensor_type, c10::ListType::create(tensor_type)});
}

template <class T>
void require_load_failed(const expected<T>& failed) {
  require(failed.error().code == errc::model_load_failed, "the code is model_load_failed");
  require(!failed.error().text.empty(), "there is a sentence");
}

void read_signatures(const std::string& text, bool plain) {
  auto cast = cast_from_attribute(text);
  if (!cast) require_load_failed(cast);
  auto signatures = signatures_from_attribute(text, types(plain), result_type(plain));
  if (!signatures) return require_load_failed(signatures);
  require(!signatures->empty(), "there is at least one signature");
  for (const auto& sig : *signatures) {
    auto written = to_json(sig);
    auto again = signature_from_json(written, types(plain), result_type(plain));
    require(again.has_value(), "what is written can be read");
    require(to_json(*again) == written, "and reads the same");
  }
}

void read_a_manifest(const std::string& text) try {
  auto made = read_manifest("the file", text);
  require(!made.programs.empty(), "there is at least one program");
} catch (const error& e) {
  require(e.code() == errc::model_load_failed, "the code is model_load_failed");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  test::choices choices{{data, size}};
  auto kind = choices.below(3);
  auto text = fuzz::text_of(choices.rest());
  if (kind == 2)
    read_a_manifest(text);
  else
    read_signatures(text, kind == 0);
  return 0;
}

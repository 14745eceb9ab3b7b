#include <support/doctest.hpp>
#include <support/errors.hpp>
#include <support/scratch_folder.hpp>
#include <support/values.hpp>

#include <ganglion/model_io/tensor_file.hpp>

#include <ATen/ATen.h>

#include <fstream>
#include <iterator>
#include <random>
#include <stdlib.h>

using namespace ganglion;
namespace fs = std::filesystem;

namespace {

fs::path data(const std::string& name) { return fs::path(GANGLION_TEST_DATA) / name; }

at::Tensor rows(at::ScalarType dtype = at::kFloat) {
  return at::arange(6, at::kFloat).view({2, 3}).to(dtype);
}

bool same(const at::Tensor& a, const at::Tensor& b) {
  return a.dtype() == b.dtype() && a.sizes() == b.sizes() && at::equal(a, b);
}

at::Tensor read_tensor(const fs::path& path) { return read_tensor_file(path).value().toTensor(); }

/// The sentence with which a file is refused.
std::string refusal(const fs::path& path, errc code = errc::invalid_argument) {
  auto value = read_tensor_file(path);
  REQUIRE(value.has_error());
  EXPECT(value.error().code == code);
  EXPECT(value.error().text.find(path.filename().string()) != std::string::npos);
  return value.error().text;
}

std::string bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string npy(const std::string& dict, std::size_t data_bytes) {
  return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(dict.size()) + '\0' + dict +
         std::string(data_bytes, '\0');
}

}  // namespace

TEST_CASE("what torch.save writes for a tensor is read, whatever kind of tensor it was") {
  EXPECT(same(read_tensor(data("tensor.pt")), rows()));
  EXPECT(same(read_tensor(data("protocol4.pt")), rows()));
  EXPECT(same(read_tensor(data("bf16.pt")), rows(at::kBFloat16)));
  EXPECT(same(read_tensor(data("f16.pt")), rows(at::kHalf)));
  EXPECT(same(read_tensor(data("scalar.pt")), at::scalar_tensor(7, at::kLong)));
  EXPECT(same(read_tensor(data("empty.pt")), at::empty({0, 3})));
  EXPECT(same(read_tensor(data("bool.pt")), at::arange(3).remainder(2).eq(0)));
  EXPECT(same(read_tensor(data("view.pt")), at::arange(16, at::kFloat).view({4, 4}).t().slice(0, 1, 3)));
  EXPECT(same(read_tensor(data("expanded.pt")), at::ones({2, 3})));
}

TEST_CASE("parameters are read as plain tensors without a gradient") {
  for (auto name : {"parameter.pt", "requires_grad.pt"}) {
    auto tensor = read_tensor(data(name));
    EXPECT(same(tensor, rows()));
    EXPECT_FALSE(tensor.requires_grad());
  }
}

TEST_CASE("a tuple of tensors is read, nested too") {
  auto value = read_tensor_file(data("tuple.pt")).value();
  const auto& elements = value.toTupleRef().elements();
  REQUIRE(elements.size() == 3);
  EXPECT(same(elements[0].toTensor(), rows()));
  EXPECT(same(elements[1].toTensor(), at::arange(3)));
  EXPECT(same(elements[2].toTupleRef().elements()[0].toTensor(), at::arange(4, at::kFloat)));
}

TEST_CASE("files that hold something else are refused by what they hold") {
  EXPECT(contains(refusal(data("list.pt")), "a list of 2 elements"));
  EXPECT(contains(refusal(data("list.pt")), "save tuple(...)"));
  EXPECT(contains(refusal(data("dict.pt")), "a dict of 1 entry"));
  EXPECT(contains(refusal(data("state_dict.pt")), "a dict of 2 entries"));
  EXPECT(contains(refusal(data("tuple_with_int.pt")), "element 1 of its tuple holds an int"));
  EXPECT(contains(refusal(data("module.pt")), "torch.nn.modules.linear.Linear"));
  EXPECT(contains(refusal(data("sparse.pt")), "a sparse tensor"));
  EXPECT(contains(refusal(data("script.pt")), "TorchScript model"));
  EXPECT(contains(refusal(data("legacy.pt")), "old format"));
  EXPECT(contains(refusal(data("arrays.npz")), "zip archive"));
  EXPECT(contains(refusal(data("make_tensor_files.py")), "neither"));
}

TEST_CASE("a small file that stands for any number of values is refused, and not counted to its end") {
  EXPECT(contains(refusal(data("shared_parts.pt")), "more than 100000 tensors and tuples"));
}

TEST_CASE("NumPy's files are read in either order and every version") {
  for (auto name : {"c_order.npy", "fortran_order.npy", "version2.npy", "version3.npy"}) {
    auto tensor = read_tensor(data(name));
    EXPECT(same(tensor, rows()));
    EXPECT(tensor.is_contiguous());
  }
  EXPECT(same(read_tensor(data("scalar.npy")), at::scalar_tensor(7, at::kLong)));
}

TEST_CASE("NumPy's files without a tensor's elements are refused with their type") {
  EXPECT(contains(refusal(data("big_endian.npy")),
                  "big-endian ('>f4'): save it as little-endian, with array.astype('<f4')"));
  EXPECT(contains(refusal(data("u2.npy")), "'<u2'"));
  EXPECT(contains(refusal(data("structured.npy")), "no plain array"));
}

TEST_CASE("a file that cannot be read is an input or output failure") {
  scratch_folder folder;
  EXPECT(contains(refusal(folder / "missing.pt", errc::io_failed), "no such file"));
  fs::create_directory(folder / "sub");
  EXPECT(contains(refusal(folder / "sub", errc::io_failed), "folder"));
  write_bytes(folder / "nothing.pt", "");
  EXPECT(contains(refusal(folder / "nothing.pt"), "empty"));
}

TEST_CASE("every dtype written to a .pt file reads back the same") {
  scratch_folder folder;
  for (auto dtype : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kChar, at::kShort, at::kInt,
                     at::kLong, at::kByte, at::kBool, at::kComplexFloat}) {
    REQUIRE(write_tensor_file(rows(dtype), folder / "t.pt").has_value());
    EXPECT(same(read_tensor(folder / "t.pt"), rows(dtype)));
  }
  for (const auto& tensor : {at::scalar_tensor(2.5), at::empty({0, 4}),
                             at::ones({2, 3, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast)}) {
    REQUIRE(write_tensor_file(tensor, folder / "t.pt").has_value());
    EXPECT(same(read_tensor(folder / "t.pt"), tensor));
  }
}

TEST_CASE("every dtype that NumPy has, written to a .npy file, reads back the same") {
  scratch_folder folder;
  for (auto dtype : {at::kFloat, at::kDouble, at::kHalf, at::kChar, at::kShort, at::kInt, at::kLong,
                     at::kByte, at::kBool, at::kComplexFloat, at::kComplexDouble}) {
    REQUIRE(write_tensor_file(rows(dtype).t(), folder / "t.npy").has_value());
    EXPECT(same(read_tensor(folder / "t.npy"), rows(dtype).t()));
  }
  for (const auto& tensor : {at::scalar_tensor(2.5), at::empty({0, 4}), at::ones({3})}) {
    REQUIRE(write_tensor_file(tensor, folder / "t.npy").has_value());
    EXPECT(same(read_tensor(folder / "t.npy"), tensor));
  }
}

TEST_CASE("a tuple written to a .pt file reads back with its parts") {
  scratch_folder folder;
  REQUIRE(write_tensor_file(tuple({rows(), tuple({at::ones({1})})}), folder / "t.pt").has_value());
  auto value = read_tensor_file(folder / "t.pt").value();
  EXPECT(same(value.toTupleRef().elements()[0].toTensor(), rows()));
  EXPECT(same(value.toTupleRef().elements()[1].toTupleRef().elements()[0].toTensor(), at::ones({1})));
}

TEST_CASE("lists, dicts and numbers are written too, though not read as tensors") {
  scratch_folder folder;
  REQUIRE(write_tensor_file(c10::List<at::Tensor>({rows(), rows()}), folder / "t.pt").has_value());
  EXPECT(contains(refusal(folder / "t.pt"), "a list of 2 elements"));
  c10::Dict<std::string, at::Tensor> dict;
  dict.insert("a", rows());
  REQUIRE(write_tensor_file(dict, folder / "t.pt").has_value());
  EXPECT(contains(refusal(folder / "t.pt"), "a dict of 1 entry"));
}

TEST_CASE("a view is written without the rest of its storage") {
  scratch_folder folder;
  auto large = at::zeros({1000, 1000}).requires_grad_();
  for (const auto& view :
       {large.slice(0, 3, 4), large.slice(1, 3, 4).slice(0, 0, 10), at::ones({1}).expand({10, 10})}) {
    REQUIRE(write_tensor_file(tuple({view}), folder / "t.pt").has_value());
    EXPECT(fs::file_size(folder / "t.pt") < 8000);
    EXPECT(same(read_tensor_file(folder / "t.pt").value().toTupleRef().elements()[0].toTensor(), view));
  }
}

TEST_CASE("what a .npy file cannot hold is refused, and no file appears") {
  scratch_folder folder;
  auto refused = [&](const c10::IValue& value, const char* part) {
    auto written = write_tensor_file(value, folder / "t.npy");
    REQUIRE(written.has_error());
    EXPECT(written.error().code == errc::invalid_argument);
    EXPECT(contains(written.error().text, part));
    EXPECT(folder.file_count() == 0);
  };
  refused(tuple({rows(), rows()}), "tuple of 2");
  refused(tuple({rows()}), "tuple of 1");
  refused(rows(at::kBFloat16), "bf16");
  refused(3, "int");
}

TEST_CASE("a file that cannot be written leaves nothing behind and the old one whole") {
  scratch_folder folder;
  auto failed = [&](const fs::path& path) {
    auto written = write_tensor_file(rows(), path);
    REQUIRE(written.has_error());
    EXPECT(written.error().code == errc::io_failed);
    EXPECT(contains(written.error().text, path.filename().c_str()));
  };
  failed(folder / "no such folder/t.pt");
  fs::create_directory(folder / "sub");
  failed(folder / "sub");
  failed("/dev/null");
  EXPECT(folder.file_count() == 1);
  EXPECT(fs::is_character_file("/dev/null"));
}

TEST_CASE("an existing file is replaced, through a link too, and nothing else is left in the folder") {
  scratch_folder folder;
  write_bytes(folder / "t.pt", "old");
  fs::create_symlink("t.pt", folder / "link.pt");
  REQUIRE(write_tensor_file(rows(), folder / "link.pt").has_value());
  EXPECT(fs::is_symlink(folder / "link.pt"));
  EXPECT(same(read_tensor(folder / "t.pt"), rows()));
  EXPECT(folder.file_count() == 2);
}

TEST_CASE("a truncated file is refused at every length") {
  scratch_folder folder;
  for (auto name : {"tuple.pt", "fortran_order.npy"}) {
    auto whole = bytes_of(data(name));
    for (std::size_t length = 0; length < whole.size(); ++length) {
      write_bytes(folder / "cut", whole.substr(0, length));
      REQUIRE(read_tensor_file(folder / "cut").has_error());
    }
  }
}

TEST_CASE("a damaged file is refused or read as other tensors, but never crashes") {
  scratch_folder folder;
  std::mt19937_64 random(1);
  for (auto name : {"tuple.pt", "parameter.pt", "module.pt", "protocol4.pt", "c_order.npy"}) {
    auto whole = bytes_of(data(name));
    for (int round = 0; round < 300; ++round) {
      auto bytes = whole;
      for (auto flips = 1 + random() % 4; flips > 0; --flips)
        bytes[random() % bytes.size()] = static_cast<char>(random());
      write_bytes(folder / "damaged", bytes);
      auto value = read_tensor_file(folder / "damaged");
      if (value && value->isTensor()) EXPECT(value->toTensor().clone().defined());
    }
  }
}

TEST_CASE("a tensor that reaches past its storage is refused") {
  scratch_folder folder;
  auto bytes = bytes_of(data("tensor.pt"));
  // The sizes (2, 3) and the strides (3, 1) are single-byte integers in the pickle.
  auto sizes = bytes.find("K\2K\3\x86");
  REQUIRE(sizes != std::string::npos);
  bytes[sizes + 1] = 3;
  write_bytes(folder / "t.pt", bytes);
  EXPECT(contains(refusal(folder / "t.pt"),
                  "sizes [3,3] with strides [3,1] at 0 are not within its storage of 24 bytes"));
}

TEST_CASE("a hostile .npy header is refused") {
  scratch_folder folder;
  auto refused = [&](const std::string& bytes, const char* part) {
    write_bytes(folder / "t.npy", bytes);
    EXPECT(contains(refusal(folder / "t.npy"), part));
  };
  auto shaped = [](const std::string& shape) {
    return "{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", }\n";
  };
  std::string ones;
  for (int i = 0; i < 70; ++i) ones += "1,";
  refused(npy(shaped("(" + ones + ")"), 4), "impossible sizes: f32[1,1,1,1,1,1,1,1,... 70 in all]");
  refused(npy(shaped("(4611686018427387904, 4)"), 8), "impossible sizes");
  refused(npy(shaped("(0, 4611686018427387904, 4)"), 0), "impossible sizes");
  refused(npy(shaped("(99999999999999999999,)"), 8), "the size 99999999999999999999, which is more than 64 bits hold");
  refused(npy(shaped("(3, -1)"), 8), "the size -1, which is negative");
  refused(npy(shaped("(2,)"), 4), "truncated");
  refused(npy(shaped("(2,)"), 12), "several arrays");
  refused(npy(shaped("(1000000000000,)"), 12), "truncated");
  refused(npy("{'descr': '<f4', 'fortran_order': False}", 4), "malformed");
  refused(npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}", 4), "malformed");
  refused(npy("{'descr': __import__('os'), 'fortran_order': False, 'shape': ()}", 4), "malformed");
  refused(npy(shaped("()") + "x", 4), "malformed");
  refused(std::string("\x93NUMPY\2\0\xff\xff\xff\xff", 12), "truncated");
  refused(std::string("\x93NUMPY\7\0\0\0", 10), "version 7");
}

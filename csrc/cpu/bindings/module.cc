// The Python module megatron_codex.native._cpu. Callers hold the rules; here arguments are checked for shape and bounds.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <stdexcept>

#include "../filter/documents.h"
#include "../sketch/documents.h"
#include "../sketch/shingles.h"
#include "../json/lines.h"
#include "../tokenizer/documents.h"
#include "../words/runs.h"

namespace py = pybind11;

void define_rows(py::module_& module);       // rows.cc
void define_attention(py::module_& module);  // attention.cc

namespace {

using codex::Instructions;

constexpr std::pair<Instructions, const char*> kInstructions[] = {
    {Instructions::kAvx512, "avx512"}, {Instructions::kAvx2, "avx2"}, {Instructions::kScalar, "scalar"}};

}  // namespace

Instructions instructions_of(const std::string& name) {
  for (const auto& [instructions, known] : kInstructions) {
    if (name == known) return instructions;
  }
  throw std::invalid_argument("instructions: got " + name + "; must be avx512, avx2 or scalar");
}

namespace {

using codex::DocumentEncoder;
using codex::Statistics;
using codex::Token;
using Offsets = py::array_t<int64_t, py::array::c_style>;
using Hashes = py::array_t<uint64_t, py::array::c_style>;
using Tokens = py::array_t<Token>;

std::vector<std::string> available_instructions() {
  std::vector<std::string> found;
  for (const auto& [instructions, name] : kInstructions) {
    if (codex::has_instructions(instructions)) found.emplace_back(name);
  }
  return found;
}

// `tokens[:size]` as an array that owns the memory.
Tokens owned(std::unique_ptr<Token[]> tokens, int64_t size) {
  Token* const kept = tokens.get();
  py::capsule owner(tokens.release(), [](void* pointer) { delete[] static_cast<Token*>(pointer); });
  return Tokens(size, kept, owner);
}

void require_bytes(const py::buffer_info& bytes) {
  if (bytes.ndim != 1 || bytes.itemsize != 1 || (bytes.size > 1 && bytes.strides[0] != 1)) {
    throw std::invalid_argument("data: must be contiguous bytes");
  }
}

// Documents end to end, and where each begins: checked before anything is read.
struct Documents {
  Documents(const py::buffer& data, const Offsets& offsets) : bytes(data.request()), offsets(offsets.data()) {
    require_bytes(bytes);
    if (offsets.ndim() != 1 || offsets.size() < 1) throw std::invalid_argument("offsets: must be a list of positions");
    count = offsets.size() - 1;
    int64_t before = 0;
    for (int64_t i = 0; i <= count; ++i) {
      if (this->offsets[i] < before || this->offsets[i] > bytes.size) {
        throw std::invalid_argument("offsets: must rise from 0 to the number of bytes at most");
      }
      before = this->offsets[i];
    }
  }

  const uint8_t* data() const { return static_cast<const uint8_t*>(bytes.ptr); }
  int64_t num_bytes() const { return offsets[count] - offsets[0]; }

  py::buffer_info bytes;
  const int64_t* offsets;
  int64_t count;
};

void require_threads(int num_threads) {
  if (num_threads < 1) throw std::invalid_argument("num_threads: must be at least 1");
}

py::array_t<Statistics> measure(const py::buffer& data, const Offsets& offsets, const std::string& instructions,
                                int num_threads) {
  const Documents documents(data, offsets);
  require_threads(num_threads);
  const Instructions chosen = instructions_of(instructions);
  py::array_t<Statistics> found(documents.count);
  Statistics* const to = found.mutable_data();
  py::gil_scoped_release release;
  codex::measure_documents(documents.data(), documents.offsets, documents.count, chosen, num_threads, to);
  return found;
}

py::array_t<uint32_t> sketch(const py::buffer& data, const Offsets& offsets, int num_permutations, int shingle_words,
                             const std::string& instructions, int num_threads) {
  const Documents documents(data, offsets);
  require_threads(num_threads);
  if (num_permutations < 1) throw std::invalid_argument("num_permutations: must be at least 1");
  if (shingle_words < 1 || shingle_words > codex::kMaxShingleWords) {
    throw std::invalid_argument("shingle_words: must be 1 to " + std::to_string(codex::kMaxShingleWords));
  }
  const Instructions chosen = instructions_of(instructions);
  py::array_t<uint32_t> sketches({documents.count, static_cast<int64_t>(num_permutations)});
  uint32_t* const to = sketches.mutable_data();
  py::gil_scoped_release release;
  codex::sketch_documents(documents.data(), documents.offsets, documents.count, num_permutations, shingle_words, chosen,
                          num_threads, to);
  return sketches;
}

// `values` as an array that owns them.
template <class Stored, class Value>
py::array_t<Stored> array_of(std::vector<Value> values) {
  static_assert(sizeof(Stored) == sizeof(Value));
  auto* const kept = new std::vector<Value>(std::move(values));
  py::capsule owner(kept, [](void* pointer) { delete static_cast<std::vector<Value>*>(pointer); });
  return py::array_t<Stored>(static_cast<int64_t>(kept->size()), reinterpret_cast<const Stored*>(kept->data()), owner);
}

py::tuple extract_texts(const py::buffer& data, const std::string& key) {
  const py::buffer_info bytes = data.request();
  require_bytes(bytes);
  std::unique_ptr<uint8_t[]> texts(new uint8_t[bytes.size + codex::kLineTextsSlack]);
  codex::LineTexts found;
  {
    py::gil_scoped_release release;
    found = codex::extract_texts(static_cast<const uint8_t*>(bytes.ptr), bytes.size, key, texts.get());
  }
  const int64_t size = found.text_starts.back();
  uint8_t* const kept = texts.get();
  py::capsule owner(texts.release(), [](void* pointer) { delete[] static_cast<uint8_t*>(pointer); });
  return py::make_tuple(py::array_t<uint8_t>(size, kept, owner), array_of<int64_t>(std::move(found.text_starts)),
                        array_of<int64_t>(std::move(found.line_starts)), array_of<uint8_t>(std::move(found.kinds)));
}

py::array_t<uint8_t> find_runs(const py::buffer& data, const Offsets& offsets,
                               const std::vector<std::pair<int64_t, Hashes>>& runs) {
  const Documents documents(data, offsets);
  std::vector<codex::Runs> looked_for;
  for (const auto& [num_words, hashes] : runs) {
    if (num_words < 1) throw std::invalid_argument("runs: must have at least one word");
    if (hashes.ndim() != 1) throw std::invalid_argument("runs: hashes must be a list");
    looked_for.push_back({num_words, hashes.data(), hashes.size()});
    if (!std::is_sorted(hashes.data(), hashes.data() + hashes.size())) {
      throw std::invalid_argument("runs: hashes must rise");
    }
  }
  py::array_t<uint8_t> found(documents.count);
  uint8_t* const to = found.mutable_data();
  py::gil_scoped_release release;
  codex::find_runs(documents.data(), documents.offsets, documents.count, looked_for, to);
  return found;
}

class Tokenizer {
 public:
  Tokenizer(std::vector<py::bytes> tokens, const std::string& instructions)
      : encoder_(std::make_shared<codex::Vocabulary>(std::vector<std::string>(tokens.begin(), tokens.end())),
                 instructions_of(instructions)) {}

  py::tuple encode_documents(const py::buffer& data, const Offsets& offsets, bool is_utf8, int end, int num_threads) {
    const Documents documents(data, offsets);
    require_threads(num_threads);
    // Not filled with zeros: what is never written costs no memory.
    const int64_t room = DocumentEncoder::room_for(documents.num_bytes(), documents.count);
    std::unique_ptr<Token[]> tokens(new Token[room]);
    codex::wish_huge_pages(tokens.get(), room * sizeof(Token));
    py::array_t<int64_t> counts(documents.count);
    int64_t* const count = counts.mutable_data();
    int64_t total = 0;
    {
      py::gil_scoped_release release;
      const std::lock_guard<std::mutex> alone(busy_);  // its caches are for one call at a time
      const Token end_token = end < 0 ? codex::kNoToken : static_cast<Token>(end);
      total = encoder_.encode(documents.data(), documents.offsets, documents.count, is_utf8, end_token, num_threads,
                              tokens.get(), count);
    }
    return py::make_tuple(owned(std::move(tokens), total), counts);
  }

 private:
  std::mutex busy_;
  DocumentEncoder encoder_;
};

}  // namespace

PYBIND11_MODULE(_cpu, module) {
  module.doc() = "The C++ library of the data path (csrc/cpu).";
  module.def("available_instructions", &available_instructions, "What this processor has, the best first.");
  PYBIND11_NUMPY_DTYPE(Statistics, hash_low, hash_high, num_chars, num_lines, num_line_chars, max_line_chars, num_ascii,
                       num_ascii_alphanumeric, num_ascii_white, num_nul, is_utf8, may_declare_encoding, may_be_generated);
  module.def("measure", &measure, "Statistics (csrc/cpu/filter/statistics.h) of each document.", py::arg("data"),
             py::arg("offsets"), py::kw_only(), py::arg("instructions"), py::arg("num_threads"));
  module.def("sketch", &sketch, "Sketches (csrc/cpu/sketch/shingles.h), [num_documents, num_permutations].",
             py::arg("data"), py::arg("offsets"), py::kw_only(), py::arg("num_permutations"), py::arg("shingle_words"),
             py::arg("instructions"), py::arg("num_threads"));
  module.def("extract_texts", &extract_texts,
             "(texts, text_starts, line_starts, kinds) of JSON Lines (csrc/cpu/json/lines.h).", py::arg("data"),
             py::kw_only(), py::arg("key"));
  module.def("find_runs", &find_runs, "1 for each document that holds a run of words with one of the hashes, else 0.",
             py::arg("data"), py::arg("offsets"), py::kw_only(), py::arg("runs"));
  define_rows(module);
  define_attention(module);
  py::class_<Tokenizer>(module, "Tokenizer")
      .def(py::init<std::vector<py::bytes>, const std::string&>(), py::arg("tokens"), py::arg("instructions"))
      .def("encode_documents", &Tokenizer::encode_documents, py::arg("data"), py::arg("offsets"), py::kw_only(),
           py::arg("is_utf8"), py::arg("end"), py::arg("num_threads"));
}

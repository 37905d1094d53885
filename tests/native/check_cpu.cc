// Every entry point of csrc/cpu on one input: all instruction sets and numbers of threads must agree, and none may touch
// memory that is not its own. With -fsanitize=fuzzer it is a fuzzer's target; else `check_cpu VOCABULARY SECONDS SEED`
// makes inputs of its own. It ends with a message and exit code 1 at the first difference.
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../../csrc/cpu/attention/attention.h"
#include "../../csrc/cpu/filter/documents.h"
#include "../../csrc/cpu/json/lines.h"
#include "../../csrc/cpu/rows/rows.h"
#include "../../csrc/cpu/sketch/documents.h"
#include "../../csrc/cpu/tokenizer/documents.h"
#include "../../csrc/cpu/words/runs.h"

namespace {

using codex::DocumentEncoder;
using codex::Instructions;
using codex::Statistics;
using codex::Token;

constexpr Instructions kAll[] = {Instructions::kScalar, Instructions::kAvx2, Instructions::kAvx512};
constexpr Token kEnd = 50256;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "check_cpu: %s differs\n", what);
  std::abort();
}

// VOCABULARY: for each token its length in two bytes, little-endian, and its bytes; length 0 for one without.
std::shared_ptr<codex::Vocabulary> read_vocabulary(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "check_cpu: %s cannot be read\n", path);
    std::exit(1);
  }
  std::vector<std::string> tokens;
  for (uint8_t length[2]; file.read(reinterpret_cast<char*>(length), 2);) {
    std::string bytes(length[0] | length[1] << 8, '\0');
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    tokens.push_back(std::move(bytes));
  }
  return std::make_shared<codex::Vocabulary>(std::move(tokens));
}

struct Tokens {
  std::vector<Token> ids;
  std::vector<int64_t> counts;
  bool operator==(const Tokens& other) const { return ids == other.ids && counts == other.counts; }
};

class Checker {
 public:
  explicit Checker(const char* vocabulary) : vocabulary_(read_vocabulary(vocabulary)) {
    for (const Instructions instructions : kAll) {
      if (codex::has_instructions(instructions)) available_.push_back(instructions);
    }
    for (const Instructions instructions : available_) {
      encoders_.push_back(std::make_unique<DocumentEncoder>(vocabulary_, instructions));
    }
  }

  // Bytes 0xFF 0xFE end a document.
  void check(const uint8_t* input, size_t size) {
    std::vector<int64_t> offsets{0};
    std::vector<uint8_t> text;
    for (size_t i = 0; i < size; ++i) {
      if (input[i] == 0xFF && i + 1 < size && input[i + 1] == 0xFE) {
        offsets.push_back(static_cast<int64_t>(text.size()));
        ++i;
      } else {
        text.push_back(input[i]);
      }
    }
    offsets.push_back(static_cast<int64_t>(text.size()));
    // Of its exact size, on the heap: a read beyond the end is a fault that a sanitizer sees.
    const std::unique_ptr<uint8_t[]> data(new uint8_t[text.size()]);
    if (!text.empty()) std::memcpy(data.get(), text.data(), text.size());
    check_statistics(data.get(), offsets);
    check_sketches(data.get(), offsets);
    check_tokens(data.get(), offsets);
    check_lines(data.get(), offsets.back());
    check_rows<float>(data.get(), text.size(), codex::Element::kFloat32);
    check_rows<uint16_t>(data.get(), text.size(), codex::Element::kBfloat16);
    check_attention<float>(data.get(), text.size(), codex::Element::kFloat32);
    check_attention<uint16_t>(data.get(), text.size(), codex::Element::kBfloat16);
    for (size_t document = 0; document + 1 < offsets.size(); ++document) {
      check_alone(data.get() + offsets[document], offsets[document + 1] - offsets[document]);
    }
  }

 private:
  void check_statistics(const uint8_t* data, const std::vector<int64_t>& offsets) {
    const int64_t count = static_cast<int64_t>(offsets.size()) - 1;
    std::vector<Statistics> expected(count), found(count);
    codex::measure_documents(data, offsets.data(), count, Instructions::kScalar, 1, expected.data());
    for (const Instructions instructions : available_) {
      for (const int num_threads : {1, 3}) {
        std::memset(static_cast<void*>(found.data()), 0, count * sizeof(Statistics));
        codex::measure_documents(data, offsets.data(), count, instructions, num_threads, found.data());
        require(std::memcmp(found.data(), expected.data(), count * sizeof(Statistics)) == 0, "statistics");
      }
    }
  }

  // A document gives the same without neighbours, and nothing beyond its end is read.
  void check_alone(const uint8_t* document, int64_t size) {
    const std::unique_ptr<uint8_t[]> data(new uint8_t[size]);
    std::memcpy(data.get(), document, size);
    const std::vector<int64_t> offsets{0, size};
    check_statistics(data.get(), offsets);
    check_sketches(data.get(), offsets);
    check_tokens(data.get(), offsets);
    const uint64_t hashes[] = {0, 1, ~0ull};
    uint8_t has_run = 0;
    codex::find_runs(data.get(), offsets.data(), 1, {{1, hashes, 3}, {13, hashes, 3}}, &has_run);
    Statistics alone, beside_others;
    codex::measure_documents(data.get(), offsets.data(), 1, Instructions::kScalar, 1, &alone);
    const int64_t place[] = {0, size};
    codex::measure_documents(document, place, 1, Instructions::kScalar, 1, &beside_others);
    require(std::memcmp(&alone, &beside_others, sizeof alone) == 0, "a document's statistics with neighbours");
    require(encode(*encoders_[0], data.get(), offsets, 1) == encode(*encoders_[0], document, offsets, 1),
            "a document's tokens with neighbours");
  }

  void check_sketches(const uint8_t* data, const std::vector<int64_t>& offsets) {
    const int64_t count = static_cast<int64_t>(offsets.size()) - 1;
    for (const auto& [num_bins, shingle_words] : {std::pair{16, 5}, std::pair{1, 1}, std::pair{33, 64}}) {
      std::vector<uint32_t> expected(count * num_bins), found(count * num_bins);
      codex::sketch_documents(data, offsets.data(), count, num_bins, shingle_words, Instructions::kScalar, 1,
                              expected.data());
      for (const Instructions instructions : available_) {
        for (const int num_threads : {1, 3}) {
          codex::sketch_documents(data, offsets.data(), count, num_bins, shingle_words, instructions, num_threads,
                                  found.data());
          require(found == expected, "sketches");
        }
      }
    }
  }

  // Texts cannot be longer than their lines, and lines cover the input.
  void check_lines(const uint8_t* data, int64_t size) {
    const std::unique_ptr<uint8_t[]> texts(new uint8_t[size + codex::kLineTextsSlack]);
    const codex::LineTexts found = codex::extract_texts(data, size, "a", texts.get());
    require(found.line_starts.front() == 0 && found.line_starts.back() == size, "extent of the lines");
    require(found.kinds.size() + 1 == found.line_starts.size() && found.text_starts.size() == found.line_starts.size(),
            "number of lines");
    for (size_t i = 0; i < found.kinds.size(); ++i) {
      const int64_t text = found.text_starts[i + 1] - found.text_starts[i];
      require(text >= 0 && text <= found.line_starts[i + 1] - found.line_starts[i], "length of a line's text");
    }
  }

  void check_tokens(const uint8_t* data, const std::vector<int64_t>& offsets) {
    const Tokens expected = encode(*encoders_[0], data, offsets, 1);
    for (const auto& encoder : encoders_) {
      for (const int num_threads : {1, 3}) require(encode(*encoder, data, offsets, num_threads) == expected, "tokens");
    }
    int64_t token = 0;
    for (size_t document = 0; document + 1 < offsets.size(); ++document) {  // the tokens' bytes are the text
      int64_t at = offsets[document];
      for (int64_t i = 0; i < expected.counts[document]; ++i) {
        const Token id = expected.ids[token++];
        if (id != kEnd) at += vocabulary_->num_bytes(id);
      }
      require(at == offsets[document + 1], "length of the tokens' bytes");
    }
  }

  Tokens encode(DocumentEncoder& encoder, const uint8_t* data, const std::vector<int64_t>& offsets, int num_threads) {
    const int64_t count = static_cast<int64_t>(offsets.size()) - 1;
    Tokens tokens{std::vector<Token>(DocumentEncoder::room_for(offsets.back(), count)), std::vector<int64_t>(count)};
    const int64_t total = encoder.encode(data, offsets.data(), count, false, kEnd, num_threads, tokens.ids.data(),
                                         tokens.counts.data());
    tokens.ids.resize(total);
    return tokens;
  }

  // The bytes as rows of numbers from -8 to 8, each matrix in memory of its size exactly.
  template <class Stored>
  void check_rows(const uint8_t* data, size_t size, codex::Element element) {
    const int64_t columns = size == 0 ? 1 : data[0] % 40 + 1, num_rows = static_cast<int64_t>(size) / columns;
    std::vector<Stored> given(num_rows * columns);
    for (size_t i = 0; i < given.size(); ++i) {
      const float value = (data[i] - 128) / 16.0f;  // its lower 16 bits are 0: the upper ones are the bf16
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      if (sizeof(Stored) == 2) bits >>= 16;
      std::memcpy(&given[i], &bits, sizeof(Stored));
    }
    const auto results = [&](Instructions instructions, int num_threads) {
      const codex::Workers workers{instructions, num_threads};
      std::vector<Stored> softmax = given, gradient = given, out(given.size()), in_gradient(given.size());
      std::vector<float> largest(num_rows), sums(num_rows), ones(num_rows, 1.0f);
      std::vector<int64_t> labels(num_rows);
      for (int64_t i = 0; i < num_rows; ++i) labels[i] = i % (columns + 2) - 1;
      const auto matrix = [&](std::vector<Stored>& values) {
        return codex::Matrix{values.data(), element, num_rows, columns, columns};
      };
      codex::row_statistics(matrix(given), largest.data(), sums.data(), workers);
      const int64_t num_blocks = num_rows * ((columns + 6) / 7);
      std::vector<float> of_blocks(num_blocks), plain(num_blocks), tempered(num_blocks);
      codex::block_statistics(matrix(given), 7, 1.25f, of_blocks.data(), plain.data(), tempered.data(), workers);
      codex::cross_entropy_gradient(matrix(gradient), columns, labels.data(), largest.data(), ones.data(), workers);
      codex::gelu(matrix(given), matrix(out), workers);
      codex::gelu_gradient(matrix(given), matrix(given), matrix(in_gradient), workers);
      codex::causal_softmax(matrix(softmax), 5, 2, 0.5f, workers);
      codex::causal_softmax_gradient(matrix(softmax), matrix(out), 5, 2, 0.5f, workers);
      for (const auto* more : {&gradient, &out, &in_gradient}) softmax.insert(softmax.end(), more->begin(), more->end());
      return std::make_pair(softmax, sums);
    };
    const auto expected = results(Instructions::kScalar, 1);
    for (const Instructions instructions : available_) {
      const auto found = results(instructions, 1);
      require(results(instructions, 3) == found, "rows with more threads");
      for (int64_t i = 0; i < num_rows; ++i) {  // sums in another order
        require(std::abs(found.second[i] - expected.second[i]) <= 1e-5f * expected.second[i], "sum of exponentials");
      }
    }
  }

  // The bytes as queries, keys and values from -2 to 2 of rows that continue two prompts, each tensor in memory of its size
  // exactly; sizes, lengths and the window come from the first bytes.
  template <class Stored>
  void check_attention(const uint8_t* data, size_t size, codex::Element element) {
    if (size < 8) return;
    const int64_t num_rows = data[0] % 20 + 1, heads = data[1] % 3 + 1, channels = data[2] % 40 + 1;
    const int64_t room = 32 * (data[3] % 2 + 1), own_room = data[4] % 12, window = data[5] % 3 == 0 ? data[6] % 60 : 0;
    const auto numbers = [&](int64_t count, size_t from) {
      std::vector<Stored> made(count);
      for (int64_t i = 0; i < count; ++i) {
        const float value = (data[(from + i) % size] - 128) / 64.0f;
        uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        if (sizeof(Stored) == 2) bits >>= 16;
        std::memcpy(&made[i], &bits, sizeof(Stored));
      }
      return made;
    };
    const auto queries = numbers(num_rows * heads * channels, 1);
    const auto prompt_keys = numbers(2 * heads * channels * room, 2), prompt_values = numbers(2 * heads * room * channels, 3);
    const auto keys = numbers(num_rows * heads * own_room * channels, 4), values = numbers(keys.size(), 5);
    const std::vector<int32_t> prompt_lengths{static_cast<int32_t>(data[7] % (room + 1)), static_cast<int32_t>(room)};
    std::vector<int32_t> lengths(num_rows);
    std::vector<int64_t> prompt_of_row(num_rows);
    for (int64_t row = 0; row < num_rows; ++row) {
      lengths[row] = static_cast<int32_t>(data[row % size] % (own_room + 1));
      prompt_of_row[row] = row * 3 >= num_rows;
    }
    const auto attended = [&](Instructions instructions, int num_threads) {
      std::vector<Stored> found(queries.size());
      const codex::SharedPrefixAttention given{
          element, num_rows, heads, channels, queries.data(), heads * channels, channels, prompt_keys.data(),
          prompt_values.data(), room, prompt_lengths.data(), prompt_of_row.data(), keys.data(), values.data(),
          heads * own_room * channels, channels, own_room * channels, lengths.data(), window, 0.25f, found.data()};
      codex::shared_prefix_attention(given, {instructions, num_threads});
      return found;
    };
    const auto expected = attended(Instructions::kScalar, 1);
    for (const Instructions instructions : available_) {
      const auto found = attended(instructions, 1);
      require(attended(instructions, 3) == found, "attention with more threads");
      if (sizeof(Stored) != sizeof(float)) continue;
      for (size_t i = 0; i < found.size(); ++i) {  // sums in another order, of values up to 2
        float one, other;
        std::memcpy(&one, &found[i], sizeof one);
        std::memcpy(&other, &expected[i], sizeof other);
        require(std::abs(one - other) <= 1e-4f, "attention");
      }
    }
  }

  std::shared_ptr<codex::Vocabulary> vocabulary_;
  std::vector<Instructions> available_;
  std::vector<std::unique_ptr<DocumentEncoder>> encoders_;
};

Checker& checker(const char* vocabulary) {
  static Checker instance(vocabulary);
  return instance;
}

#ifndef FUZZER
// Texts that cross every border: words, runs, contractions, line ends, characters of all lengths, faulty bytes.
std::vector<uint8_t> make_input(std::mt19937_64& random) {
  static const std::vector<std::string> pieces = {
      "a", "Z", "_", "0", "42", " ", "    ", "\t", "\n", "\r\n", "\r", "'s", "'ll", "'re", "'", "def ", "return", "self.",
      "{\"a\": \"", "\"}\n", "\\n", "\\ud83d\\ude00", "\\u00e9", "generated", "DO NOT EDIT", "# coding: utf-8\n", "\xC3\xA9", "\xE4\xB8\xAD", "\xF0\x9F\x98\x80", "\xE2\x80\xA8",
      "\xC2\xA0", "\x80", "\xC3", "\xF0\x9F", "\xED\xA0\x80", std::string("\0", 1), "\xFF\xFE", "<|endoftext|>", "====",
      std::string(70, 'x'), std::string(200, ' '), std::string(300, '\xC3')};
  std::vector<uint8_t> input;
  const size_t count = random() % 400;
  for (size_t i = 0; i < count; ++i) {
    if (random() % 8 == 0) {
      input.push_back(static_cast<uint8_t>(random()));
      continue;
    }
    const std::string& piece = pieces[random() % pieces.size()];
    for (size_t times = random() % 16 == 0 ? random() % 40 : 1; times > 0; --times) {
      input.insert(input.end(), piece.begin(), piece.end());
    }
  }
  return input;
}
#endif

}  // namespace

#ifdef FUZZER
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  checker(std::getenv("VOCABULARY")).check(data, size);
  return 0;
}
#else
int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: check_cpu VOCABULARY SECONDS SEED\n");
    return 2;
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[2]));
  std::mt19937_64 random(std::strtoull(argv[3], nullptr, 10));
  long count = 0;
  for (; std::chrono::steady_clock::now() < end; ++count) {
    const std::vector<uint8_t> input = make_input(random);
    checker(argv[1]).check(input.data(), input.size());
  }
  std::printf("%ld inputs\n", count);
  return count > 0 ? 0 : 1;
}
#endif

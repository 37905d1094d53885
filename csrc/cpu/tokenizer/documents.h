// Many documents to tokens, on several threads: Arrow's layout in (bytes end to end, and offsets), tokens end to end out.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "encoder.h"

namespace codex {

class DocumentEncoder {
 public:
  // Throws std::invalid_argument when the processor lacks the instructions.
  DocumentEncoder(std::shared_ptr<const Vocabulary> vocabulary, Instructions instructions);

  // Tokens of data[offsets[i], offsets[i + 1]) for each i < num_documents, one document after the other, into `tokens`
  // (room for room_for()); counts[i]: how many are document i's. end: a token after each document that has any, or
  // kNoToken for none. The result does not depend on num_threads. Returns how many there are in all.
  int64_t encode(const uint8_t* data, const int64_t* offsets, int64_t num_documents, bool is_utf8, Token end,
                 int num_threads, Token* tokens, int64_t* counts);

  static int64_t room_for(int64_t num_bytes, int64_t num_documents) {
    return num_bytes + num_documents + Encoder::kOutSlack;
  }

 private:
  Encoder& encoder(size_t thread);

  std::shared_ptr<const Vocabulary> vocabulary_;
  Instructions instructions_;
  std::vector<std::unique_ptr<Encoder>> encoders_;
};

}  // namespace codex

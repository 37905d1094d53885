#include "documents.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <thread>

namespace codex {
namespace {

constexpr int64_t kDocumentsAtATime = 16;

}  // namespace

DocumentEncoder::DocumentEncoder(std::shared_ptr<const Vocabulary> vocabulary, Instructions instructions)
    : vocabulary_(std::move(vocabulary)), instructions_(instructions) {
  encoder(0);
}

Encoder& DocumentEncoder::encoder(size_t thread) {
  while (encoders_.size() <= thread) encoders_.push_back(std::make_unique<Encoder>(vocabulary_, instructions_));
  return *encoders_[thread];
}

int64_t DocumentEncoder::encode(const uint8_t* data, const int64_t* offsets, int64_t num_documents, bool is_utf8,
                                Token end, int num_threads, Token* tokens, int64_t* counts) {
  const uint8_t* const readable_end = data + offsets[num_documents];
  const auto encode_one = [&](Encoder& encoder, int64_t document, Token* out) {
    const int64_t size = offsets[document + 1] - offsets[document];
    int64_t count = encoder.encode(data + offsets[document], size, readable_end, is_utf8, out);
    if (count > 0 && end != kNoToken) out[count++] = end;
    return counts[document] = count;
  };
  if (num_threads == 1) {
    Token* at = tokens;
    for (int64_t document = 0; document < num_documents; ++document) at += encode_one(encoder(0), document, at);
    return at - tokens;
  }
  const int64_t first = offsets[0];
  // A document's tokens are at most its bytes, so each has a place of its own: threads need not wait for each other.
  const auto place = [&](int64_t document) { return tokens + (offsets[document] - first) + document; };
  std::atomic<int64_t> next{0};
  std::vector<std::exception_ptr> faults(num_threads);
  const auto work = [&](int thread, Encoder& encoder) {
    try {
      std::vector<Token> own;  // writes past a document's last token must not reach the next one's
      for (int64_t from; (from = next.fetch_add(kDocumentsAtATime)) < num_documents;) {
        const int64_t to = std::min(from + kDocumentsAtATime, num_documents);
        for (int64_t document = from; document < to; ++document) {
          const size_t room = offsets[document + 1] - offsets[document] + Encoder::kOutSlack;
          if (own.size() < room) own.resize(room);
          const int64_t count = encode_one(encoder, document, own.data());
          std::memcpy(place(document), own.data(), count * sizeof(Token));
        }
      }
    } catch (...) {
      faults[thread] = std::current_exception();
      next = num_documents;
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 1; thread < num_threads; ++thread) threads.emplace_back(work, thread, std::ref(encoder(thread)));
  work(0, encoder(0));
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& fault : faults) {
    if (fault) std::rethrow_exception(fault);
  }
  Token* at = tokens;
  for (int64_t document = 0; document < num_documents; ++document) {
    std::memmove(at, place(document), counts[document] * sizeof(Token));
    at += counts[document];
  }
  return at - tokens;
}

}  // namespace codex

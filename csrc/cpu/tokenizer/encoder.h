// Text to tokens, a document at a time, with a cache of pieces that were met before. One encoder a thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "../common/processor.h"
#include "scanner.h"
#include "table.h"
#include "vocabulary.h"

namespace codex {

// In both caches, an entry whose tokens are still to come has this bit in its size, and in tokens[0] the number under which
// its piece is merged.
constexpr uint8_t kAwaited = 0x80;

// Tokens of the pieces met lately, of up to 16 bytes. Of fixed size: what is met seldom makes room for what comes next.
class PieceCache {
 public:
  static constexpr int kMaxTokens = 6;

  struct alignas(32) Entry {
    uint64_t low, high;
    Token tokens[kMaxTokens];
    uint8_t num_tokens;
    uint8_t size;  // 0: empty

    bool holds(const ShortPiece& piece) const { return is(piece, 0); }
    bool awaits(const ShortPiece& piece) const { return is(piece, kAwaited); }

   private:
    bool is(const ShortPiece& piece, uint8_t flag) const {
      return ((low ^ piece.low) | (high ^ piece.high) | (size ^ piece.size ^ flag)) == 0;  // one branch, not three
    }
  };

  PieceCache() : entries_(1ull << kBits) {}

  static uint32_t slot_of(const ShortPiece& piece) { return piece.hash() >> (32 - kBits); }
  Entry& at(uint32_t slot) { return entries_[slot]; }
  Entry& neighbour(uint32_t slot) { return entries_[slot ^ 1]; }

 private:
  static constexpr int kBits = 20;  // 32 MB: with 8, a seventh of the time went into merging again what had been met
  Table<Entry> entries_;
};

// The same for pieces of 17 to 64 bytes: a line feed and deep indentation, rulers of dashes, long names.
class LongPieceCache {
 public:
  static constexpr int kMaxSize = 64, kMaxTokens = 28;

  struct alignas(128) Entry {
    uint8_t bytes[kMaxSize];
    Token tokens[kMaxTokens];
    uint8_t num_tokens;
    uint8_t size;  // 0: empty

    bool holds(const uint8_t* piece, int64_t num_bytes) const { return is(piece, num_bytes, 0); }
    bool awaits(const uint8_t* piece, int64_t num_bytes) const { return is(piece, num_bytes, kAwaited); }

   private:
    bool is(const uint8_t* piece, int64_t num_bytes, uint8_t flag) const {
      return (size ^ flag) == num_bytes && std::memcmp(bytes, piece, num_bytes) == 0;
    }
  };

  LongPieceCache() : entries_(1ull << kBits) {}

  static uint32_t slot_of(const uint8_t* piece, int64_t num_bytes) {
    uint64_t hash = num_bytes;
    for (int64_t from = 0; from + 8 <= num_bytes; from += 8) hash = mix(hash, piece + from);
    return static_cast<uint32_t>(mix(hash, piece + num_bytes - 8) >> (64 - kBits));
  }
  Entry& at(uint32_t slot) { return entries_[slot]; }
  void prefetch(uint32_t slot) const {
    __builtin_prefetch(entries_[slot].bytes);
    __builtin_prefetch(entries_[slot].tokens);
  }

 private:
  static uint64_t mix(uint64_t hash, const uint8_t* bytes) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
    return hash ^ hash >> 32;
  }

  static constexpr int kBits = 14;  // 2 MB
  Table<Entry> entries_;
};

class Encoder {
 public:
  Encoder(std::shared_ptr<const Vocabulary> vocabulary, Instructions instructions);

  // Tokens of text[0, size) into `out` (room for size + kOutSlack tokens); how many. Bytes in [text, readable_end) may be
  // read. is_utf8: known to be valid. What is not UTF-8 is encoded as tiktoken does: all pieces but the last one before
  // the first faulty byte as in text, then the whole rest as one piece.
  int64_t encode(const uint8_t* text, int64_t size, const uint8_t* readable_end, bool is_utf8, Token* out);

  static constexpr int kOutSlack = 64;

 private:
  static constexpr int kMaxStarts = 4096;

  Token* encode_pieces(const uint8_t* text, const uint32_t* starts, int count, const uint8_t* readable_end, Token* out);
  template <class Entry>
  Token* encode_new(Entry& entry, uint32_t slot, const uint8_t* bytes, int64_t size, Token* out);
  Token* leave_gap(int number, int64_t size, Token* out);
  Token* fill_gaps(Token* end);
  Token* encode_missed(const ShortPiece& piece, uint32_t slot, const uint8_t* bytes, Token* out);
  Token* encode_long(const uint8_t* bytes, int64_t size, uint32_t slot, Token* out);
  Token* encode_whole(const uint8_t* bytes, int64_t size, Token* out);
  Token token_of(const uint8_t* bytes, int64_t size) const;
  int64_t encode_faulty_rest(const uint8_t* text, int64_t valid, int64_t size, int64_t num_tokens, int64_t last_start,
                             Token* out);

  std::shared_ptr<const Vocabulary> vocabulary_;
  ScanPieces scan_;
  MergeShort merge_short_;
  PieceCache cache_;
  LongPieceCache long_cache_;
  std::vector<uint32_t> starts_;

  // Pieces that no cache holds are merged together, later: until then each has a gap in the output, as wide as it could
  // come to be. A piece that comes again meanwhile has a gap more, but is merged once.
  static constexpr int kMaxGaps = 32;
  struct Gap {
    Token* begin;
    int64_t room;
    int number;  // of its piece in unmerged_
  };
  Gap gaps_[kMaxGaps];
  Unmerged unmerged_[kMaxGaps];
  uint32_t slots_[kMaxGaps];  // where each of unmerged_ is awaited; a short one there or in the neighbour
  int num_gaps_ = 0, num_unmerged_ = 0;
};

}  // namespace codex

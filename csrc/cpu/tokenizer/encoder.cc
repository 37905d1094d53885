#include "encoder.h"

#include <cstring>
#include <stdexcept>

#include "../common/utf8.h"

namespace codex {
namespace {

// Masks that keep the first `size` bytes of a piece's low and high half (little-endian).
struct HalfMasks {
  uint64_t low[17], high[17];
};

constexpr uint64_t first_bytes(int count) { return count <= 0 ? 0 : count >= 8 ? ~0ull : (1ull << (8 * count)) - 1; }

constexpr HalfMasks half_masks() {
  HalfMasks masks{};
  for (int size = 0; size <= 16; ++size) {
    masks.low[size] = first_bytes(size);
    masks.high[size] = first_bytes(size - 8);
  }
  return masks;
}

constexpr HalfMasks kMasks = half_masks();

ShortPiece read_short(const uint8_t* bytes, uint32_t size, const uint8_t* readable_end) {
  ShortPiece piece;
  piece.size = size;
  if (__builtin_expect(readable_end - bytes >= 16, 1)) {
    std::memcpy(&piece.low, bytes, 8);
    std::memcpy(&piece.high, bytes + 8, 8);
    piece.low &= kMasks.low[size];
    piece.high &= kMasks.high[size];
  } else {
    uint8_t copy[16] = {};
    std::memcpy(copy, bytes, size);
    std::memcpy(&piece.low, copy, 8);
    std::memcpy(&piece.high, copy + 8, 8);
  }
  return piece;
}

ScanPieces scan_for(Instructions instructions) {
  switch (instructions) {
#if defined(__x86_64__)
    case Instructions::kAvx512: return scan_pieces_avx512;
    case Instructions::kAvx2: return scan_pieces_avx2;
#endif
    default: return scan_pieces_scalar;
  }
}

MergeShort merge_for(Instructions instructions) {
#if defined(__x86_64__)
  if (instructions != Instructions::kScalar) return merge_short_avx2;
#endif
  return merge_short_scalar;
}

}  // namespace

Encoder::Encoder(std::shared_ptr<const Vocabulary> vocabulary, Instructions instructions)
    : vocabulary_(std::move(vocabulary)),
      scan_(scan_for(instructions)),
      merge_short_(merge_for(instructions)),
      starts_(kMaxStarts + kStartsSlack) {
  if (!has_instructions(instructions)) throw std::invalid_argument("this processor lacks these instructions");
}

int64_t Encoder::encode(const uint8_t* text, int64_t size, const uint8_t* readable_end, bool is_utf8, Token* out) {
  if (size >= 1ll << 32) throw std::invalid_argument("a document must be smaller than 4 GiB");
  const int64_t valid = is_utf8 ? size : valid_utf8_prefix(text, size);
  Scan scan{text, static_cast<uint32_t>(valid)};
  uint32_t* const starts = starts_.data();
  int count = 0;
  Token* at = out;
  while (scan.at < scan.size) {
    count = scan_(scan, starts, count, kMaxStarts);
    if (scan.at >= scan.size) break;
    const uint32_t last = starts[count - 1];  // may still move
    at = encode_pieces(text, starts, count - 1, readable_end, at);
    starts[0] = last;
    count = 1;
  }
  if (valid == size) {
    if (count > 0) {
      starts[count] = static_cast<uint32_t>(valid);
      at = encode_pieces(text, starts, count, readable_end, at);
    }
    return at - out;
  }
  const int64_t last_start = count > 0 ? starts[count - 1] : 0;
  if (count > 1) at = encode_pieces(text, starts, count - 1, readable_end, at);
  return encode_faulty_rest(text, valid, size, at - out, last_start, out);
}

// tiktoken's rule for bytes that are not UTF-8 (its _encode_bytes): the last piece of the valid head, with white space
// tokens before it when it begins with one, and everything after it are one piece.
int64_t Encoder::encode_faulty_rest(const uint8_t* text, int64_t valid, int64_t size, int64_t num_tokens,
                                    int64_t last_start, Token* out) {
  int64_t begin = last_start;
  if (valid > 0) {
    Token* const last = out + num_tokens;
    encode_whole(text + last_start, valid - last_start, last);
    if (vocabulary_->is_blank(*last)) {
      while (num_tokens > 0 && vocabulary_->is_blank(out[num_tokens - 1])) {
        begin -= vocabulary_->num_bytes(out[--num_tokens]);
      }
    }
  }
  return encode_whole(text + begin, size - begin, out + num_tokens) - out;
}

Token* Encoder::encode_pieces(const uint8_t* text, const uint32_t* starts, int count, const uint8_t* readable_end,
                              Token* out) {
  constexpr int kBatch = 64;  // look-ups in flight together
  ShortPiece pieces[kBatch];
  uint32_t slots[kBatch];
  for (int from = 0; from < count; from += kBatch) {
    const int num = count - from < kBatch ? count - from : kBatch;
    for (int i = 0; i < num; ++i) {
      const uint32_t start = starts[from + i], size = starts[from + i + 1] - start;
      pieces[i] = read_short(text + start, size < ShortPiece::kMaxSize ? size : ShortPiece::kMaxSize, readable_end);
      pieces[i].size = size;  // a long piece is found in no entry
      slots[i] = PieceCache::slot_of(pieces[i]);
      __builtin_prefetch(&cache_.at(slots[i]));
    }
    for (int i = 0; i < num; ++i) {
      const PieceCache::Entry& entry = cache_.at(slots[i]);
      std::memcpy(out, entry.tokens, sizeof entry.tokens);
      if (__builtin_expect(entry.holds(pieces[i]), 1)) {
        out += entry.num_tokens;
      } else {
        const uint8_t* const bytes = text + starts[from + i];
        out = pieces[i].size <= ShortPiece::kMaxSize ? encode_missed(pieces[i], slots[i], bytes, out)
                                                     : encode_long(bytes, pieces[i].size, out);
      }
    }
  }
  return out;
}

Token* Encoder::encode_missed(const ShortPiece& piece, uint32_t slot, const uint8_t* bytes, Token* out) {
  PieceCache::Entry& first = cache_.at(slot);
  PieceCache::Entry& second = cache_.neighbour(slot);
  if (second.holds(piece)) {
    std::swap(first, second);
    std::memcpy(out, first.tokens, sizeof first.tokens);
    return out + first.num_tokens;
  }
  const int64_t count = encode_whole(bytes, piece.size, out) - out;
  if (count <= PieceCache::kMaxTokens) {
    // Into the second place, unless the first is free: what comes once must not push out what comes again and again.
    PieceCache::Entry& entry = first.size == 0 ? first : second;
    entry.low = piece.low;
    entry.high = piece.high;
    entry.size = static_cast<uint8_t>(piece.size);
    entry.num_tokens = static_cast<uint8_t>(count);
    std::memcpy(entry.tokens, out, count * sizeof(Token));
  }
  return out + count;
}

Token* Encoder::encode_long(const uint8_t* bytes, int64_t size, Token* out) {
  if (size > LongPieceCache::kMaxSize) return encode_whole(bytes, size, out);
  LongPieceCache::Entry& entry = long_cache_.at(bytes, size);
  if (entry.holds(bytes, size)) {
    std::memcpy(out, entry.tokens, entry.num_tokens * sizeof(Token));
    return out + entry.num_tokens;
  }
  Token* const end = encode_whole(bytes, size, out);
  if (end - out <= LongPieceCache::kMaxTokens) {
    std::memcpy(entry.bytes, bytes, size);
    std::memcpy(entry.tokens, out, (end - out) * sizeof(Token));
    entry.num_tokens = static_cast<uint8_t>(end - out);
    entry.size = static_cast<uint8_t>(size);
  }
  return end;
}

Token* Encoder::encode_whole(const uint8_t* bytes, int64_t size, Token* out) {
  if (!vocabulary_->merging_makes_every_token()) {
    const Token token = vocabulary_->of({reinterpret_cast<const char*>(bytes), static_cast<size_t>(size)});
    if (token != kNoToken) {
      *out = token;
      return out + 1;
    }
  }
  return out + merge_piece(*vocabulary_, merge_short_, bytes, size, out);
}

}  // namespace codex

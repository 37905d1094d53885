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

// Gives an entry the tokens it awaits, unless it has made room for another piece since.
template <class Cache>
void settle(typename Cache::Entry& entry, const Unmerged& piece, int number) {
  if ((entry.size & kAwaited) == 0 || entry.tokens[0] != number) return;
  const bool fits = piece.num_tokens <= Cache::kMaxTokens;
  entry.size = fits ? static_cast<uint8_t>(piece.size) : 0;
  if (!fits) return;
  entry.num_tokens = static_cast<uint8_t>(piece.num_tokens);
  std::memcpy(entry.tokens, piece.tokens, piece.num_tokens * sizeof(Token));
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
      if (__builtin_expect(size <= ShortPiece::kMaxSize, 1)) {
        pieces[i] = read_short(text + start, size, readable_end);
        slots[i] = PieceCache::slot_of(pieces[i]);
        __builtin_prefetch(&cache_.at(slots[i]));
      } else {
        pieces[i].size = size;
        slots[i] = size <= LongPieceCache::kMaxSize ? LongPieceCache::slot_of(text + start, size) : 0;
        long_cache_.prefetch(slots[i]);
      }
    }
    for (int i = 0; i < num; ++i) {
      if (__builtin_expect(pieces[i].size > ShortPiece::kMaxSize, 0)) {
        out = encode_long(text + starts[from + i], pieces[i].size, slots[i], out);
        continue;
      }
      const PieceCache::Entry& entry = cache_.at(slots[i]);
      std::memcpy(out, entry.tokens, sizeof entry.tokens);
      if (__builtin_expect(entry.holds(pieces[i]), 1)) {
        out += entry.num_tokens;
      } else {
        out = encode_missed(pieces[i], slots[i], text + starts[from + i], out);
      }
    }
  }
  return fill_gaps(out);
}

// A piece whose bytes `entry` has been given: its token where merging would not make it, else a gap until it is merged.
template <class Entry>
Token* Encoder::encode_new(Entry& entry, uint32_t slot, const uint8_t* bytes, int64_t size, Token* out) {
  const Token whole = token_of(bytes, size);
  if (whole != kNoToken) {
    entry.size = static_cast<uint8_t>(size);
    entry.num_tokens = 1;
    entry.tokens[0] = *out = whole;
    return out + 1;
  }
  const int number = num_unmerged_++;
  unmerged_[number] = {bytes, static_cast<int>(size), out, 0};
  slots_[number] = slot;
  entry.size = static_cast<uint8_t>(size) | kAwaited;
  entry.tokens[0] = static_cast<Token>(number);
  return leave_gap(number, size, out);
}

// The output goes on behind the room that a piece may need.
Token* Encoder::leave_gap(int number, int64_t size, Token* out) {
  gaps_[num_gaps_++] = {out, size, number};
  return out + size;
}

// Merges what waits, puts the tokens into their gaps and closes up what is left of these; the end of the output after it.
Token* Encoder::fill_gaps(Token* end) {
  if (num_gaps_ == 0) return end;
  merge_short_(vocabulary_->merges(), unmerged_, num_unmerged_);
  for (int number = 0; number < num_unmerged_; ++number) {
    const Unmerged& piece = unmerged_[number];
    if (piece.size <= static_cast<int>(ShortPiece::kMaxSize)) {
      settle<PieceCache>(cache_.at(slots_[number]), piece, number);
      settle<PieceCache>(cache_.neighbour(slots_[number]), piece, number);
    } else {
      settle<LongPieceCache>(long_cache_.at(slots_[number]), piece, number);
    }
  }
  for (int i = 0; i < num_gaps_; ++i) {
    const Unmerged& piece = unmerged_[gaps_[i].number];
    if (gaps_[i].begin != piece.tokens) std::memcpy(gaps_[i].begin, piece.tokens, piece.num_tokens * sizeof(Token));
  }
  const auto filled = [&](int i) { return gaps_[i].begin + unmerged_[gaps_[i].number].num_tokens; };
  Token* to = filled(0);
  for (int i = 0; i < num_gaps_; ++i) {
    const Token* const from = gaps_[i].begin + gaps_[i].room;
    const size_t count = (i + 1 < num_gaps_ ? filled(i + 1) : end) - from;
    std::memmove(to, from, count * sizeof(Token));
    to += count;
  }
  num_gaps_ = num_unmerged_ = 0;
  return to;
}

Token* Encoder::encode_missed(const ShortPiece& piece, uint32_t slot, const uint8_t* bytes, Token* out) {
  PieceCache::Entry& first = cache_.at(slot);
  PieceCache::Entry& second = cache_.neighbour(slot);
  if (second.holds(piece)) {
    std::swap(first, second);
    std::memcpy(out, first.tokens, sizeof first.tokens);
    return out + first.num_tokens;
  }
  if (num_gaps_ == kMaxGaps) out = fill_gaps(out);
  if (first.awaits(piece)) return leave_gap(first.tokens[0], piece.size, out);
  if (second.awaits(piece)) return leave_gap(second.tokens[0], piece.size, out);
  // Into the second place, unless the first is free: what comes once must not push out what comes again and again.
  PieceCache::Entry& entry = first.size == 0 ? first : second;
  entry.low = piece.low;
  entry.high = piece.high;
  return encode_new(entry, slot, bytes, piece.size, out);
}

Token* Encoder::encode_long(const uint8_t* bytes, int64_t size, uint32_t slot, Token* out) {
  if (num_gaps_ == kMaxGaps || size > LongPieceCache::kMaxSize) out = fill_gaps(out);
  if (size > LongPieceCache::kMaxSize) return encode_whole(bytes, size, out);  // may throw: nothing awaits anything now
  LongPieceCache::Entry& entry = long_cache_.at(slot);
  if (entry.holds(bytes, size)) {
    std::memcpy(out, entry.tokens, entry.num_tokens * sizeof(Token));
    return out + entry.num_tokens;
  }
  if (entry.awaits(bytes, size)) return leave_gap(entry.tokens[0], size, out);
  std::memcpy(entry.bytes, bytes, size);
  return encode_new(entry, slot, bytes, size, out);
}

Token* Encoder::encode_whole(const uint8_t* bytes, int64_t size, Token* out) {
  const Token whole = token_of(bytes, size);
  if (whole != kNoToken) {
    *out = whole;
    return out + 1;
  }
  return out + merge_piece(*vocabulary_, merge_short_, bytes, size, out);
}

// The token that is exactly these bytes, where merging would not make it; else kNoToken.
Token Encoder::token_of(const uint8_t* bytes, int64_t size) const {
  if (vocabulary_->merging_makes_every_token()) return kNoToken;
  return vocabulary_->of({reinterpret_cast<const char*>(bytes), static_cast<size_t>(size)});
}

}  // namespace codex

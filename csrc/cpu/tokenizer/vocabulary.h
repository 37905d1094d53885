// The tokens: their bytes, and which two of them merge into a third. A token's id is its rank, the merge's priority.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "merge_table.h"
#include "merges.h"

namespace codex {

// A piece of up to 16 bytes: the bytes themselves, filled up with zeros, and how many they are.
struct ShortPiece {
  static constexpr uint32_t kMaxSize = 16;

  uint64_t low, high;
  uint32_t size;

  uint32_t hash() const {
    const uint64_t mixed = (low ^ size) * 0x9E3779B97F4A7C15ull ^ high * 0xC2B2AE3D27D4EB4Full;
    return static_cast<uint32_t>((mixed ^ mixed >> 29) * 0xD6E8FEB86659FD93ull >> 32);
  }
};

class Vocabulary {
 public:
  // tokens[id] is a token's bytes; an empty one is an id that no text gives (the end of a document). All 256 single
  // bytes must be there. Throws std::invalid_argument when they are not, for a repeated token, and for 65,535 tokens.
  explicit Vocabulary(std::vector<std::string> tokens);
  Vocabulary(const Vocabulary&) = delete;

  // The token that is exactly these bytes, or kNoToken.
  Token of(std::string_view bytes) const {
    if (bytes.size() > longest_) return kNoToken;
    const auto found = by_bytes_.find(bytes);
    return found == by_bytes_.end() ? kNoToken : found->second;
  }

  const Merges& merges() const { return merges_; }

  // Whether merging makes every token of its own bytes, so that a piece need not be looked up before it is merged.
  bool merging_makes_every_token() const { return merging_makes_every_token_; }

  int64_t num_bytes(Token token) const { return static_cast<int64_t>(tokens_[token].size()); }

  // Whether tiktoken takes a token for white space when it looks for the last piece: blanks, line feeds and tabs only.
  bool is_blank(Token token) const { return is_blank_[token]; }

 private:
  std::optional<Merge> last_merge(Token token) const;

  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, Token> by_bytes_;
  size_t longest_ = 0;
  std::vector<bool> is_blank_;
  Token of_byte_[256];
  std::vector<Token> of_two_bytes_;
  std::unique_ptr<MergeTable> merge_table_;
  Merges merges_;
  bool merging_makes_every_token_ = true;
};

// Byte pair encoding of one piece of any size: merges by rank, the leftmost of equal ones first, into `out` (room for
// `size` tokens); how many there are. Time: size^2 for short pieces, size log size for long ones.
int64_t merge_piece(const Vocabulary& vocabulary, MergeShort merge_short, const uint8_t* piece, int64_t size,
                    Token* out);

}  // namespace codex

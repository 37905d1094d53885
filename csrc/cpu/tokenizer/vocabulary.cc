#include "vocabulary.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace codex {

Vocabulary::Vocabulary(std::vector<std::string> tokens) : tokens_(std::move(tokens)), short_tokens_(kNumShortTokens) {
  if (tokens_.size() >= kNoToken) throw std::invalid_argument("a vocabulary must have fewer than 65,535 tokens");
  by_bytes_.reserve(2 * tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id].empty()) continue;
    if (!by_bytes_.emplace(tokens_[id], static_cast<Token>(id)).second) {
      throw std::invalid_argument("token " + std::to_string(id) + " has the bytes of another one");
    }
  }
  for (size_t id = 0; id < tokens_.size(); ++id) {
    const std::string& bytes = tokens_[id];
    longest_ = std::max(longest_, bytes.size());
    if (bytes.empty() || bytes.size() > ShortPiece::kMaxSize) continue;
    ShortPiece piece{0, 0, static_cast<uint32_t>(bytes.size())};
    std::memcpy(&piece.low, bytes.data(), std::min<size_t>(bytes.size(), 8));
    if (bytes.size() > 8) std::memcpy(&piece.high, bytes.data() + 8, bytes.size() - 8);
    uint32_t slot = piece.hash() & kShortMask;
    while (short_tokens_[slot].size != 0) slot = (slot + 1) & kShortMask;
    short_tokens_[slot] = {piece.low, piece.high, static_cast<Token>(id), static_cast<uint8_t>(bytes.size())};
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char character = static_cast<char>(byte);
    byte_token_[byte] = of(std::string_view(&character, 1));
    if (byte_token_[byte] == kNoToken) throw std::invalid_argument("byte " + std::to_string(byte) + " has no token");
  }

  struct Pair {
    Token left, right, merged;
  };
  std::vector<Pair> found;
  for (size_t id = 0; id < tokens_.size(); ++id) {
    const std::string_view bytes = tokens_[id];
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      const Token left = of(bytes.substr(0, cut)), right = of(bytes.substr(cut));
      if (left != kNoToken && right != kNoToken) found.push_back({left, right, static_cast<Token>(id)});
    }
  }
  int bits = 4;
  while ((1ull << bits) < 2 * found.size()) ++bits;  // half full at most
  pairs_ = std::make_unique<Table<uint64_t>>(1ull << bits);
  for (size_t slot = 0; slot < pairs_->size(); ++slot) (*pairs_)[slot] = kEmpty;
  pair_mask_ = static_cast<uint32_t>(pairs_->size() - 1);
  pair_shift_ = 32 - bits;
  filter_.assign(1ull << (kFilterBits - 6), 0);
  for (const Pair& pair : found) add_pair(pair.left, pair.right, pair.merged);

  two_bytes_.resize(1 << 16);
  for (int pair = 0; pair < 1 << 16; ++pair) two_bytes_[pair] = merged(byte_token_[pair >> 8], byte_token_[pair & 255]);
  for (const std::string& bytes : tokens_) {
    is_blank_.push_back(bytes.find_first_not_of(" \n\t") == std::string::npos && !bytes.empty());
  }
}

void Vocabulary::add_pair(Token left, Token right, Token merged) {
  const uint32_t key = static_cast<uint32_t>(left) << 16 | right;
  const uint32_t hash = key * 0x9E3779B1u, bit = hash >> (32 - kFilterBits);
  filter_[bit >> 6] |= 1ull << (bit & 63);
  uint32_t slot = hash >> pair_shift_;
  while ((*pairs_)[slot] != kEmpty) slot = (slot + 1) & pair_mask_;
  (*pairs_)[slot] = static_cast<uint64_t>(key) << 32 | merged;
}

}  // namespace codex

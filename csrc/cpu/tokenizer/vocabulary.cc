#include "vocabulary.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>

namespace codex {

Vocabulary::Vocabulary(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {
  if (tokens_.size() >= kNoToken) throw std::invalid_argument("a vocabulary must have fewer than 65,535 tokens");
  by_bytes_.reserve(2 * tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id].empty()) continue;
    if (!by_bytes_.emplace(tokens_[id], static_cast<Token>(id)).second) {
      throw std::invalid_argument("token " + std::to_string(id) + " has the bytes of another one");
    }
  }
  for (const std::string& bytes : tokens_) longest_ = std::max(longest_, bytes.size());
  for (int byte = 0; byte < 256; ++byte) {
    const char character = static_cast<char>(byte);
    of_byte_[byte] = of(std::string_view(&character, 1));
    if (of_byte_[byte] == kNoToken) throw std::invalid_argument("byte " + std::to_string(byte) + " has no token");
  }

  std::vector<Merge> found;
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id].size() < 2) continue;
    const std::optional<Merge> last = last_merge(static_cast<Token>(id));
    if (last) found.push_back(*last);
    else merging_makes_every_token_ = false;
  }
  merge_table_ = std::make_unique<MergeTable>(found);
  merge_table_->lend_to(merges_);
  merges_.of_byte = of_byte_;
  of_two_bytes_.resize(1 << 16);
  for (int pair = 0; pair < 1 << 16; ++pair) {
    of_two_bytes_[pair] = merged(merges_, of_byte_[pair >> 8], of_byte_[pair & 255]);
  }
  merges_.of_two_bytes = of_two_bytes_.data();
  for (const std::string& bytes : tokens_) {
    is_blank_.push_back(bytes.find_first_not_of(" \n\t") == std::string::npos && !bytes.empty());
  }
}

// The last merge of byte pair encoding of a token's own bytes; nothing if other tokens come out, for then merging gives
// this one in no text. A token has no other merge that is ever looked up: its two halves stand side by side in a text
// only when no merge has crossed their ends, so what was merged between these ends is what its own bytes give, in order.
std::optional<Merge> Vocabulary::last_merge(Token token) const {
  const std::string_view bytes = tokens_[token];
  std::vector<size_t> starts(bytes.size() + 1);
  std::iota(starts.begin(), starts.end(), 0);
  const auto parts = [&](size_t from, size_t to) { return of(bytes.substr(starts[from], starts[to] - starts[from])); };
  std::vector<Token> ranks;  // ranks[i]: what the parts i and i + 1 merge into
  for (size_t i = 0; i + 2 < starts.size(); ++i) ranks.push_back(parts(i, i + 2));
  while (ranks.size() > 1) {
    const size_t left = std::min_element(ranks.begin(), ranks.end()) - ranks.begin();
    if (ranks[left] == kNoToken) return std::nullopt;
    starts.erase(starts.begin() + left + 1);
    ranks.erase(ranks.begin() + left);
    if (left > 0) ranks[left - 1] = parts(left - 1, left + 1);
    if (left < ranks.size()) ranks[left] = parts(left, left + 2);
  }
  return Merge{static_cast<uint32_t>(parts(0, 1)) << 16 | parts(1, 2), token};
}

}  // namespace codex

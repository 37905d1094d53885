// Byte pair encoding of one piece. Short ones: the least rank by a look over all of them, again and again. Long ones: a
// heap of ranks over a linked list of parts, so that a megabyte without a space costs no more than its length allows.
#include <queue>
#include <vector>

#include "vocabulary.h"

namespace codex {
namespace {

constexpr int kShort = 64;

int64_t merge_short(const Vocabulary& vocabulary, const uint8_t* piece, int size, Token* out) {
  // A part begins where `token` is not kNoToken; ranks[i]: what the parts from i and from after[i] on merge into.
  // Parts that are gone keep the worst rank, so that the search for the least one needs no links.
  Token tokens[kShort], ranks[kShort];
  uint8_t before[kShort + 1], after[kShort];
  for (int i = 0; i < size; ++i) {
    tokens[i] = vocabulary.of_byte(piece[i]);
    before[i] = static_cast<uint8_t>(i - 1);
    after[i] = static_cast<uint8_t>(i + 1);
  }
  for (int i = 0; i + 1 < size; ++i) ranks[i] = vocabulary.of_two_bytes(piece[i], piece[i + 1]);
  ranks[size - 1] = kNoToken;
  for (;;) {
    uint32_t best = static_cast<uint32_t>(kNoToken) << 8;  // rank and place in one number: the leftmost of equal ranks
    for (int i = 0; i < size; ++i) {
      const uint32_t candidate = static_cast<uint32_t>(ranks[i]) << 8 | i;
      best = candidate < best ? candidate : best;
    }
    const Token merged = static_cast<Token>(best >> 8);
    if (merged == kNoToken) break;
    const int left = best & 0xFF, right = after[left], next = after[right];
    tokens[left] = merged;
    tokens[right] = ranks[right] = kNoToken;
    after[left] = static_cast<uint8_t>(next);
    before[next] = static_cast<uint8_t>(left);
    ranks[left] = next < size ? vocabulary.merged(merged, tokens[next]) : kNoToken;
    if (left > 0) ranks[before[left]] = vocabulary.merged(tokens[before[left]], merged);
  }
  int count = 0;
  for (int i = 0; i < size; i = after[i]) out[count++] = tokens[i];
  return count;
}

int64_t merge_long(const Vocabulary& vocabulary, const uint8_t* piece, int64_t size, Token* out) {
  struct Part {
    int64_t before, after;
    Token token;
  };
  struct Candidate {
    Token merged, left, right;  // left and right: as they were when it was found; a candidate whose parts changed is stale
    int64_t at;
    bool operator<(const Candidate& other) const {  // std::priority_queue puts the greatest first
      return merged != other.merged ? merged > other.merged : at > other.at;
    }
  };
  std::vector<Part> parts(size);
  std::vector<Candidate> found;
  for (int64_t i = 0; i < size; ++i) parts[i] = {i - 1, i + 1, vocabulary.of_byte(piece[i])};
  for (int64_t i = 0; i + 1 < size; ++i) {
    const Token merged = vocabulary.of_two_bytes(piece[i], piece[i + 1]);
    if (merged != kNoToken) found.push_back({merged, parts[i].token, parts[i + 1].token, i});
  }
  std::priority_queue<Candidate> heap(std::less<Candidate>(), std::move(found));
  const auto push = [&](int64_t left) {
    const int64_t right = left < 0 ? size : parts[left].after;
    if (right >= size) return;
    const Token merged = vocabulary.merged(parts[left].token, parts[right].token);
    if (merged != kNoToken) heap.push({merged, parts[left].token, parts[right].token, left});
  };
  while (!heap.empty()) {
    const Candidate best = heap.top();
    heap.pop();
    Part& left = parts[best.at];
    if (left.token != best.left || left.after >= size || parts[left.after].token != best.right) continue;
    Part& right = parts[left.after];
    left.token = best.merged;
    right.token = kNoToken;  // gone: no candidate that names it is taken any more
    left.after = right.after;
    if (left.after < size) parts[left.after].before = best.at;
    push(left.before);
    push(best.at);
  }
  int64_t count = 0;
  for (int64_t i = 0; i < size; i = parts[i].after) out[count++] = parts[i].token;
  return count;
}

}  // namespace

int64_t merge_piece(const Vocabulary& vocabulary, const uint8_t* piece, int64_t size, Token* out) {
  if (size <= kShort) return merge_short(vocabulary, piece, static_cast<int>(size), out);
  return merge_long(vocabulary, piece, size, out);
}

}  // namespace codex

// Byte pair encoding of one piece. A short one: merge_short.h. A long one: a heap of ranks over a linked list of parts, so
// that a megabyte without a space costs no more than its length allows.
#include <queue>
#include <vector>

#include "vocabulary.h"

namespace codex {
namespace {

int64_t merge_long(const Merges& merges, const uint8_t* piece, int64_t size, Token* out) {
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
  for (int64_t i = 0; i < size; ++i) parts[i] = {i - 1, i + 1, merges.of_byte[piece[i]]};
  for (int64_t i = 0; i + 1 < size; ++i) {
    const Token whole = merges.of_two_bytes[piece[i] << 8 | piece[i + 1]];
    if (whole != kNoToken) found.push_back({whole, parts[i].token, parts[i + 1].token, i});
  }
  std::priority_queue<Candidate> heap(std::less<Candidate>(), std::move(found));
  const auto push = [&](int64_t left) {
    const int64_t right = left < 0 ? size : parts[left].after;
    if (right >= size) return;
    const Token whole = merged(merges, parts[left].token, parts[right].token);
    if (whole != kNoToken) heap.push({whole, parts[left].token, parts[right].token, left});
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

int64_t merge_piece(const Vocabulary& vocabulary, MergeShort merge_short, const uint8_t* piece, int64_t size,
                    Token* out) {
  if (size > kMaxShort) return merge_long(vocabulary.merges(), piece, size, out);
  Unmerged unmerged{piece, static_cast<int>(size), out, 0};
  merge_short(vocabulary.merges(), &unmerged, 1);
  return unmerged.num_tokens;
}

}  // namespace codex

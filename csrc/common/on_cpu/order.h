// The order in which a block's warps and a warp's threads get their turns. A GPU promises none: what depends on it is
// wrong.
#pragma once

#include <cstdint>

namespace codex::on_cpu {

enum OrderKind { kForward = 0, kReverse = 1, kRandom = 2 };

class Order {
 public:
  Order(int kind, uint64_t seed) : kind_(kind), state_(seed) {}

  // In random order every turn is drawn anew, and a warp that could go on lets others go first.
  bool runs_warps_through() const { return kind_ != kRandom; }

  // turns[0 .. count) become the numbers 0 .. count in the order of this round.
  void draw(int* turns, int count) {
    for (int turn = 0; turn < count; ++turn) turns[turn] = kind_ == kReverse ? count - 1 - turn : turn;
    if (kind_ != kRandom) return;
    for (int turn = count - 1; turn > 0; --turn) {
      const int other = static_cast<int>(next() % static_cast<uint64_t>(turn + 1));
      const int kept = turns[turn];
      turns[turn] = turns[other];
      turns[other] = kept;
    }
  }

 private:
  uint64_t next() {  // SplitMix64 (Steele, Lea, Flood 2014)
    uint64_t bits = (state_ += 0x9e3779b97f4a7c15u);
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    return bits ^ (bits >> 31);
  }

  int kind_;
  uint64_t state_;
};

}  // namespace codex::on_cpu

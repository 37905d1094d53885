// How a Block (block.h) gives its threads their turns and lets them meet.
#pragma once

#include "block.h"

namespace codex::on_cpu {

inline bool Block::make_fibers() {
  if (num_fibers_ >= num_threads_ && !abandoned_) return true;
  for (int number = 0; number < num_fibers_; ++number) end_thread(threads_[number].fiber.stack);
  stacks_.free();
  abandoned_ = false;
  num_fibers_ = 0;
  if (!stacks_.make(num_threads_)) return false;
  for (; num_fibers_ < num_threads_; ++num_fibers_)
    begin_fiber(threads_[num_fibers_].fiber, stacks_.bottom(num_fibers_), &Block::live);
  return true;
}

// A fiber's whole life: the kernel, once a block. The next launch may run it on another OS thread, so its block is
// asked for once: the compiler may keep the address of what is thread_local.
inline void Block::live() {
  Block& block = current();
  SanitizedStack begun;
  enter_stack(begun, block.scheduler_.stack);
  for (;;) {
    acquire(&block.begin_tag_);
    block.body_(block.arguments_);
    release(&block.end_tag_);
    block.wait(Meeting::kEnd, {"", 0});
  }
}

inline void Block::run(uint3 index) {
  index_ = index;
  shared_memory_.begin_block(dynamic_bytes_);
  for (int number = 0; number < num_threads_; ++number) {
    Thread& thread = threads_[number];
    const unsigned at = static_cast<unsigned>(number);
    thread.meeting = Meeting::kNone;
    thread.num_warp_meetings = thread.num_block_meetings = 0;
    thread.index = {at % shape_.x, at / shape_.x % shape_.y, at / (shape_.x * shape_.y)};
  }
  num_ended_ = 0;
  release(&begin_tag_);
  const int num_warps = (num_threads_ + kWarp - 1) / kWarp;
  while (num_ended_ < num_threads_ && !faulted()) {
    int turns[kMaxThreads / kWarp];
    order_.draw(turns, num_warps);
    for (int turn = 0; turn < num_warps; ++turn)
      while (run_warp(turns[turn]) && order_.runs_warps_through()) {
      }
    if (num_ended_ < num_threads_) resolve_barrier();
  }
  abandoned_ = abandoned_ || num_ended_ < num_threads_;
  acquire(&end_tag_);
  shared_memory_.check_ground();
}

// Every thread of the warp that can run does, up to where it waits; then those are let go who have all met. False where
// nobody ran.
inline bool Block::run_warp(int warp) {
  const int first = warp * kWarp, end = first + kWarp < num_threads_ ? first + kWarp : num_threads_;
  int turns[kWarp];
  bool ran = false;
  order_.draw(turns, end - first);
  for (int turn = 0; turn < end - first && !faulted(); ++turn) {
    running_ = first + turns[turn];
    if (self().meeting != Meeting::kNone) continue;
    ran = true;
    switch_fiber(scheduler_, self().fiber);
    num_ended_ += self().meeting == Meeting::kEnd;
  }
  while (!faulted() && resolve_warp(first, end)) {
  }
  return ran;
}

inline bool Block::resolve_warp(int first, int end) {
  for (int number = first; number < end; ++number)
    if (threads_[number].meeting > Meeting::kBlock && resolve(first, end, number - first)) return true;
  return false;
}

// The operation in which `lane` waits: done, where all lanes of its mask have come.
inline bool Block::resolve(int first, int end, int lane) {
  Thread* const lanes = threads_ + first;
  const Thread& asking = lanes[lane];
  const Meeting meeting = asking.meeting;
  const unsigned mask = asking.mask;
  const int width = asking.width;
  if (!(mask >> lane & 1)) {
    blame("a warp operation whose mask does not name its own thread:", first + lane, nullptr, 0);
    return false;
  }
  unsigned votes = 0, tags = 0;
  for (int other = 0; other < kWarp; ++other) {
    if (!(mask >> other & 1)) continue;
    const Thread& thread = lanes[other];
    if (first + other >= end || thread.meeting == Meeting::kEnd) {
      blame("a warp operation names a thread that has ended or never was:", first + lane, "named", first + other);
      return false;
    }
    if (!alike(thread, asking)) return false;
    votes |= static_cast<unsigned>(thread.given != 0) << other;
    tags |= (thread.num_warp_meetings & 1) << other;
  }
  for (int other = 0; other < kWarp; ++other) {
    if (!(mask >> other & 1)) continue;
    const int source = source_lane(meeting, other, lanes[other].source, width);
    const bool named = mask >> source & 1;
    lanes[other].taken = meeting == Meeting::kWarp     ? tags
                         : meeting == Meeting::kBallot ? votes
                         : named                       ? lanes[source].given
                                                       : ~uint64_t{0};  // NaN: nobody gave a value
  }
  for (int other = 0; other < kWarp; ++other)
    if (mask >> other & 1) lanes[other].meeting = Meeting::kNone;
  return true;
}

// Whose value a lane takes, as the CUDA C++ Programming Guide has it: its own where the source is beyond its segment.
inline int Block::source_lane(Meeting meeting, int lane, int given, int width) {
  const int segment = lane / width * width;
  int source = lane;
  if (meeting == Meeting::kShuffle) source = segment + (given & (width - 1));
  if (meeting == Meeting::kShuffleXor) source = lane ^ given;
  if (meeting == Meeting::kShuffleDown) source = lane + given;
  if (meeting == Meeting::kShuffleUp) source = lane - given;
  const bool outside = source >= segment + width || (meeting == Meeting::kShuffleUp && source < segment);
  return outside ? lane : source;
}

// Lets all threads of the block go on, where all wait at the same __syncthreads. Nobody can run when this is called and
// finds no thread that could: then those who wait wait for ever.
inline bool Block::resolve_barrier() {
  int waiting = -1, elsewhere = -1;
  for (int number = 0; number < num_threads_; ++number) {
    const Thread& thread = threads_[number];
    if (thread.meeting == Meeting::kNone) return false;
    if (thread.meeting == Meeting::kBlock && waiting < 0) waiting = number;
  }
  if (waiting < 0) {
    for (waiting = 0; threads_[waiting].meeting == Meeting::kEnd;) ++waiting;
    const Thread& thread = threads_[waiting];
    for (int other = waiting / kWarp * kWarp; other < num_threads_ && elsewhere < 0; ++other)
      if ((thread.mask >> other % kWarp & 1) && !alike(threads_[other], thread)) elsewhere = other;
    blame("a warp operation that not all named threads reach:", waiting, "named", elsewhere);
    return false;
  }
  const Place here = threads_[waiting].place;
  for (int number = 0; number < num_threads_; ++number) {
    const Thread& thread = threads_[number];
    const bool same = thread.place.line == here.line && strcmp(thread.place.file, here.file) == 0;
    if (thread.meeting == Meeting::kBlock && same) continue;
    blame("a barrier that not all reach:", waiting, "elsewhere", number);
    return false;
  }
  for (int number = 0; number < num_threads_; ++number) threads_[number].meeting = Meeting::kNone;
  return true;
}

inline void Block::blame(const char* what, int thread, const char* relation, int other) {
  char second[256] = "";
  if (relation != nullptr) {
    const bool there = other < num_threads_;
    const bool waits = there && threads_[other].meeting != Meeting::kEnd;
    const Place place = waits ? threads_[other].place : Place{there ? "its end" : "no place", 0};
    snprintf(second, sizeof second, "; %s: thread %d, at %s:%d", relation, other, place.file, place.line);
  }
  const Place place = threads_[thread].place;
  fault("%s thread %d of block (%u, %u, %u), at %s:%d%s", what, thread, index_.x, index_.y, index_.z, place.file,
        place.line, second);
}

inline void Block::synchronise(Place place) {
  char* const tag = &barrier_tags_[self().num_block_meetings++ & 1];
  release(tag);
  wait(Meeting::kBlock, place);
  acquire(tag);
}

// Only __syncwarp orders memory; a shuffle or a vote hands over its value and nothing else.
inline uint64_t Block::exchange(Meeting meeting, unsigned mask, uint64_t given, int source, int width, Place place) {
  Thread& thread = self();
  Thread* const lanes = threads_ + running_ / kWarp * kWarp;
  thread.mask = mask;
  thread.given = given;
  thread.source = source;
  thread.width = width;
  if (meeting == Meeting::kWarp) release(&thread.warp_tags[++thread.num_warp_meetings & 1]);
  wait(meeting, place);
  if (meeting == Meeting::kWarp)
    for (int other = 0; other < kWarp; ++other)
      if (mask >> other & 1) acquire(&lanes[other].warp_tags[thread.taken >> other & 1]);
  return thread.taken;
}

}  // namespace codex::on_cpu

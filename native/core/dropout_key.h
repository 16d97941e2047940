// Dropout masks from a counter: whether element (row, column) is kept is a pure function of (seed, site, row,
// column). Nothing is stored, and the second forward of a chunk (the paper's step 3) meets the same masks by
// being given the same seed. Plain C++ without libtorch, so that every kernel, on any device, computes the
// same bits.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define GRADCACHE_INLINE __host__ __device__ __forceinline__
#else
#define GRADCACHE_INLINE inline __attribute__((always_inline))
#endif

namespace gradcache {

// The 32-bit finaliser of MurmurHash3: every input bit reaches every output bit.
GRADCACHE_INLINE uint32_t mixBits(uint32_t h) {
  h ^= h >> 16;
  h *= 0x85ebca6bu;
  h ^= h >> 13;
  h *= 0xc2b2ae35u;
  h ^= h >> 16;
  return h;
}

struct DropoutKey {
  uint32_t first = 0;
  uint32_t second = 0;
  uint32_t threshold = 0;  // of 65,536: an element is dropped when its 16 random bits are below
  float scale = 1.0f;      // 1 / (share kept), for the share that the threshold really keeps

  bool active() const { return threshold != 0; }

  // Rounded to a whole number of 65,536ths, some elements must be left.
  static bool possible(double probability) {
    return probability >= 0 && probability * 65536.0 + 0.5 < 65536.0;
  }

  // Of a probability that is possible. `site` tells apart the places of one encoder that drop out under one
  // chunk's seed.
  static DropoutKey make(double probability, uint64_t seed, uint64_t site) {
    DropoutKey key;
    key.threshold = static_cast<uint32_t>(probability * 65536.0 + 0.5);
    if (key.threshold == 0) return key;
    key.scale = static_cast<float>(65536.0 / (65536.0 - key.threshold));
    // splitmix64, so that neighbouring seeds and sites give unrelated keys.
    uint64_t z = seed * 0x9e3779b97f4a7c15ull + (site + 1) * 0xd1b54a32d192ed03ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    key.first = static_cast<uint32_t>(z);
    key.second = static_cast<uint32_t>(z >> 32);
    return key;
  }
};

constexpr uint32_t kDropoutColumnStep = 0x9e3779b9u;

GRADCACHE_INLINE uint32_t dropoutRow(const DropoutKey& key, uint32_t row) {
  return mixBits(row ^ key.first) + key.second;
}

// Random bits of the two columns 2 * pair (low half) and 2 * pair + 1 (high half).
GRADCACHE_INLINE uint32_t dropoutPair(uint32_t row, uint32_t pair) {
  return mixBits(row + pair * kDropoutColumnStep);
}

GRADCACHE_INLINE bool dropoutKeeps(const DropoutKey& key, uint32_t row, uint32_t column) {
  uint32_t bits = dropoutPair(row, column >> 1);
  return ((column & 1 ? bits >> 16 : bits & 0xffffu)) >= key.threshold;
}

}  // namespace gradcache

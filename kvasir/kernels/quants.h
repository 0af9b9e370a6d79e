// Block layouts of ggml's quantised weight types, as they lie in GGUF files (ggml-common.h,
// little-endian, no padding). `d`, `m` and `dmin` are f16 bits. Elements run along a row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kvasir {

// Blocks of 32. Nibble types: qs[j] holds element j in bits 0-3 and element j + 16 in bits 4-7.

struct BlockQ4_0 {  // value = d * (q - 8)
  uint16_t d;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

struct BlockQ4_1 {  // value = d * q + m
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

struct BlockQ5_0 {  // value = d * (q - 16)
  uint16_t d;
  uint8_t qh[4];  // little-endian word: bit j is bit 4 of element j
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

struct BlockQ5_1 {  // value = d * q + m
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

struct BlockQ8_0 {  // value = d * q
  uint16_t d;
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

// Super-blocks of 256.

// value = d * scale[s] * q - dmin * min[s], s = element / 32. The eight 6-bit scales and mins:
//
//           bits 7-6              bits 5-0                      (i = 0..3)
//   [i]     scale[4 + i] 5-4      scale[i]
//   [4 + i] min[4 + i] 5-4        min[i]
//           bits 7-4              bits 3-0
//   [8 + i] min[4 + i] 3-0        scale[4 + i] 3-0
//
// qs[32 * c + l] holds element 64 * c + l in bits 0-3 and element 64 * c + 32 + l in bits 4-7.
struct BlockQ4_K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ4_K) == 144);

struct BlockQ5_K {  // as BlockQ4_K; bit s of qh[l] is bit 4 of element 32 * s + l
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

// value = d * scales[element / 16] * (q - 32). Element 128 * h + 32 * k + l has
//   bits 0-3 in ql[64 * h + 32 * (k & 1) + l], its low nibble for k < 2, else the high one
//   bits 4-5 in qh[32 * h + l], at bit 2 * k
struct BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

// The 6-bit scales and mins of a Q4_K or Q5_K block.
struct SuperScales {
  uint8_t scale[8];
  uint8_t min[8];
};

SuperScales UnpackScales(const uint8_t (&packed)[12]);

// The codes of one block in element order, before any offset is taken off.
void UnpackCodes(const BlockQ4_0& block, uint8_t* q);
void UnpackCodes(const BlockQ4_1& block, uint8_t* q);
void UnpackCodes(const BlockQ5_0& block, uint8_t* q);
void UnpackCodes(const BlockQ5_1& block, uint8_t* q);
void UnpackCodes(const BlockQ4_K& block, uint8_t* q);
void UnpackCodes(const BlockQ5_K& block, uint8_t* q);
void UnpackCodes(const BlockQ6_K& block, uint8_t* q);

// Rounds one block of values (32 or 256) to the format. Values that are not finite give finite
// codes of no meaning.
void EncodeBlock(const float* x, BlockQ4_0& block);
void EncodeBlock(const float* x, BlockQ4_1& block);
void EncodeBlock(const float* x, BlockQ5_0& block);
void EncodeBlock(const float* x, BlockQ5_1& block);
void EncodeBlock(const float* x, BlockQ8_0& block);
void EncodeBlock(const float* x, BlockQ4_K& block);
void EncodeBlock(const float* x, BlockQ5_K& block);
void EncodeBlock(const float* x, BlockQ6_K& block);

// Block `i` of a row, whatever the row's alignment.
template <typename Block>
Block LoadBlock(const void* row, int64_t i) {
  Block block;
  std::memcpy(&block, static_cast<const std::byte*>(row) + i * sizeof(Block), sizeof(Block));
  return block;
}

}  // namespace kvasir

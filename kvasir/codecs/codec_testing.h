// Keys and values for tests of codecs, and what a part or a segment gives back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvasir/codecs/registry.h"
#include "kvasir/model/rope.h"

namespace kvasir {

// Rows of one head at consecutive positions, and where their codes live.
struct CodecFixture {
  CodecFixture(int n_token, int head_dim, uint32_t seed, int first_pos = 0);

  CodecInput Input(KvSide side, std::span<const float> rows);
  // Encodes k or v; the test fails where that fails.
  std::shared_ptr<const CodedPart> Encode(const KvCodec& codec, KvSide side);

  int n_token, head_dim;
  std::vector<int32_t> pos;
  std::vector<float> k, v;        // (n_token, head_dim): normal, a few channels of k far from 0
  std::vector<float> importance;  // (n_token)
  Rope rope;
  ByteLedger ledger;
  SlabArena arena;
};

// Every codec of the table with its defaults, and the other settings that tests cover.
std::vector<std::shared_ptr<const KvCodec>> TestedCodecs();
std::shared_ptr<const KvCodec> MustMakeCodec(std::string_view name, const CodecArgs& args = {});

// (n_token, head_dim) from the tiles of a part; unused slots and padding must be zero.
std::vector<float> DecodePart(const CodedPart& part, KvSide side, int head_dim);

double RelativeError(std::span<const float> got, std::span<const float> expected);

}  // namespace kvasir

#include "kvasir/codecs/dense_part.h"

#include <cstring>

#include "kvasir/codecs/tile_order.h"
#include "kvasir/kernels/half.h"

namespace kvasir {
namespace {

int64_t ElementBytes(DenseType type) { return type == DenseType::kF32 ? 4 : 2; }

void Store(DenseType type, float value, std::byte* tile, int64_t element) {
  if (type == DenseType::kF32) {
    std::memcpy(tile + element * 4, &value, 4);
    return;
  }
  const uint16_t bits = type == DenseType::kF16 ? FloatToHalf(value) : FloatToBf16(value);
  std::memcpy(tile + element * 2, &bits, 2);
}

class DensePart final : public CodedPart {
 public:
  DensePart(DenseType type, const TileOrder& order, SlabArena* arena)
      : type_(type), order_(order), arena_(arena) {}

  // Adds zeroed tiles for n tokens.
  Status Grow(int64_t n) {
    n_token_ = n;
    while (static_cast<int64_t>(tiles_.size()) * kTileTokens < n) {
      KVASIR_ASSIGN_OR_RETURN(ArenaBlock tile, arena_->Allocate(tile_bytes()));
      tiles_.push_back(std::move(tile));
    }
    return Status::Ok();
  }
  void PutRow(int64_t token, const float* row) {
    for (int c = 0; c < order_.head_dim; ++c) {
      Store(type_, row[c], tile_of(token), order_.At(token % kTileTokens, c));
    }
  }

  int64_t n_token() const override { return n_token_; }
  int64_t bytes() const override {
    return static_cast<int64_t>(tiles_.size()) * tiles_.front().bytes();
  }
  bool in_place() const override { return type_ != DenseType::kBf16; }

  Status LoadTiles(int64_t first, int n, float* scratch, TileFormat* format,
                   const void** tiles) const override {
    *format = type_ == DenseType::kF16 ? TileFormat::kF16 : TileFormat::kF32;
    for (int i = 0; i < n; ++i) {
      const std::byte* tile = tiles_[first + i].data();
      tiles[i] = tile;
      if (type_ != DenseType::kBf16) continue;
      float* wide = scratch + i * order_.floats();
      const auto* narrow = reinterpret_cast<const uint16_t*>(tile);
      for (int64_t e = 0; e < order_.floats(); ++e) wide[e] = Bf16ToFloat(narrow[e]);
      tiles[i] = wide;
    }
    return Status::Ok();
  }

  Result<std::shared_ptr<const CodedPart>> Gather(std::span<const int32_t> keep) const override {
    auto part = std::make_shared<DensePart>(type_, order_, arena_);
    KVASIR_RETURN_IF_ERROR(part->Grow(static_cast<int64_t>(keep.size())));
    const int64_t size = ElementBytes(type_);
    for (size_t i = 0; i < keep.size(); ++i) {
      for (int c = 0; c < order_.head_dim; ++c) {
        std::memcpy(part->tile_of(i) + order_.At(i % kTileTokens, c) * size,
                    tile_of(keep[i]) + order_.At(keep[i] % kTileTokens, c) * size, size);
      }
    }
    return std::shared_ptr<const CodedPart>(std::move(part));
  }

 private:
  int64_t tile_bytes() const { return order_.floats() * ElementBytes(type_); }
  std::byte* tile_of(int64_t token) const { return tiles_[token / kTileTokens].data(); }

  DenseType type_;
  TileOrder order_;
  SlabArena* arena_;
  int64_t n_token_ = 0;
  std::vector<ArenaBlock> tiles_;
};

Result<std::shared_ptr<const CodedPart>> EncodeDense(DenseType type, const CodecInput& input) {
  auto part = std::make_shared<DensePart>(type, TileOrder{input.side, input.head_dim}, input.arena);
  KVASIR_RETURN_IF_ERROR(part->Grow(static_cast<int64_t>(input.pos.size())));
  for (size_t t = 0; t < input.pos.size(); ++t) {
    part->PutRow(static_cast<int64_t>(t), input.rows + t * input.head_dim);
  }
  return std::shared_ptr<const CodedPart>(std::move(part));
}

class DenseCodec final : public KvCodec {
 public:
  DenseCodec(std::string name, DenseType type) : name_(std::move(name)), type_(type) {}

  std::string name() const override { return name_; }
  TailRule tail(KvSide) const override { return {}; }
  double bits_per_element(KvSide side, int head_dim) const override {
    const int64_t bytes = TileOrder{side, head_dim}.floats() * ElementBytes(type_);
    return BlockBitsPerElement(bytes, kTileTokens, head_dim);
  }
  Status CheckShape(int head_dim) const override { return CheckHeadDim(name_, head_dim); }
  bool can_gather(KvSide) const override { return true; }
  Result<std::shared_ptr<const CodedPart>> Encode(const CodecInput& input) const override {
    KVASIR_RETURN_IF_ERROR(CheckInput(name(), input));
    return EncodeDense(type_, input);
  }

 private:
  std::string name_;
  DenseType type_;
};

}  // namespace

Result<std::shared_ptr<const KvCodec>> MakeDenseCodec(std::string name, DenseType type) {
  return std::shared_ptr<const KvCodec>(std::make_shared<DenseCodec>(std::move(name), type));
}

}  // namespace kvasir

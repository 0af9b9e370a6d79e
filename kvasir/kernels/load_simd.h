// Sixteen floats from a tile of either format, for kernels written once over a vector type.
#pragma once

namespace kvasir {
namespace {

template <typename V, typename T>
typename V::Reg LoadAs(const T* p) {
  if constexpr (sizeof(T) == 4) {
    return V::Load(p);
  } else {
    return V::LoadHalf(p);
  }
}

}  // namespace
}  // namespace kvasir

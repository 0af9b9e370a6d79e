// 2^x and tanh over a 16-lane vector, step by step as exp2_scalar.h does them.
#pragma once

#include "kvasir/kernels/attend.h"

namespace kvasir {
namespace {

// 2^(x - exponent) for an integer-valued exponent; zero below the normal range.
template <typename V>
typename V::Reg Exp2(typename V::Reg x, typename V::Reg exponent) {
  const auto n = V::Floor(x);
  const auto f = V::Sub(x, n);
  auto p = V::Set1(kExp2C5);
  p = V::Fma(p, f, V::Set1(kExp2C4));
  p = V::Fma(p, f, V::Set1(kExp2C3));
  p = V::Fma(p, f, V::Set1(kExp2C2));
  p = V::Fma(p, f, V::Set1(kExp2C1));
  return V::Scale(V::Fma(p, f, V::Set1(1.0f)), V::Sub(n, exponent));
}

template <typename V>
typename V::Reg Tanh(typename V::Reg y) {
  const auto magnitude = V::Min(V::Abs(y), V::Set1(10.0f));
  const auto e = Exp2<V>(V::Mul(magnitude, V::Set1(2 * kLog2E)), V::Zero());
  const auto one = V::Set1(1.0f);
  return V::CopySign(V::Sub(one, V::Div(V::Set1(2.0f), V::Add(e, one))), y);
}

}  // namespace
}  // namespace kvasir

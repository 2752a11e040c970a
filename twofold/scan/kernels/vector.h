// Vectors of 64 bytes in the compilers' own extension: one AVX-512 register, two of AVX2, four of SSE2 or NEON.
// Everything here is compiled once for each instruction set, in a namespace of its own.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

namespace twofold::TWOFOLD_ISA {

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(64)));
  typedef int32_t integer __attribute__((vector_size(64)));
  typedef float unaligned __attribute__((vector_size(64), aligned(4), may_alias));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(64)));
  typedef int64_t integer __attribute__((vector_size(64)));
  typedef double unaligned __attribute__((vector_size(64), aligned(8), may_alias));
};
template <class T>
using Vector = typename VectorOf<T>::type;
template <class T>
using Integers = typename VectorOf<T>::integer;
template <class T>
constexpr int64_t LANES = 64 / sizeof(T);

template <class T>
INLINE Vector<T> load(const T* p) {
  return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(p);
}

template <class T>
INLINE void store(T* p, Vector<T> v) {
  *reinterpret_cast<typename VectorOf<T>::unaligned*>(p) = v;
}

// The first `n` < LANES numbers; the other lanes are zero, or are not written.
template <class T>
INLINE Vector<T> load(const T* p, int64_t n) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) return (Vector<T>)_mm512_maskz_loadu_ps((1u << n) - 1, p);
  else return (Vector<T>)_mm512_maskz_loadu_pd((1u << n) - 1, p);
#else
  Vector<T> v{};
  memcpy(&v, p, n * sizeof(T));
  return v;
#endif
}

template <class T>
INLINE void store(T* p, Vector<T> v, int64_t n) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(p, (1u << n) - 1, (__m512)v);
  else _mm512_mask_storeu_pd(p, (1u << n) - 1, (__m512d)v);
#else
  memcpy(p, &v, n * sizeof(T));
#endif
}

// Past the cache, to a multiple of 64 bytes: what is larger than the cache need not be read into it before it is written.
template <class T>
INLINE void stream(T* p, Vector<T> v) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) _mm512_stream_ps(p, (__m512)v);
  else _mm512_stream_pd(p, (__m512d)v);
#else
  store(p, v);
#endif
}

// Before other threads are told of what was streamed.
INLINE void finish_streams() {
#ifdef __AVX512F__
  _mm_sfence();
#endif
}

// Calls f(i, load, store) for each vector of `count` numbers, i the index of its first. What is left after the whole ones is a
// part of a vector. `down` is for loops that run down through memory: rows read upwards within are three times slower then, as
// processors do not foresee what comes next.
template <class T, bool down = false, class F>
INLINE void for_each_vector(int64_t count, F&& f) {
  const int64_t n = count % LANES<T>, whole = count - n;
  const auto rest = [&]() INLINE_LAMBDA {
    if (n > 0)
      f(whole, [n](const T* p) INLINE_LAMBDA { return load(p, n); },
        [n](T* p, Vector<T> v) INLINE_LAMBDA { store(p, v, n); });
  };
  if (down) rest();
  for (int64_t i = 0; i < whole; i += LANES<T>)
    f(down ? whole - LANES<T> - i : i, [](const T* p) INLINE_LAMBDA { return load(p); },
      [](T* p, Vector<T> v) INLINE_LAMBDA { store(p, v); });
  if (!down) rest();
}

// The first `n` <= 8 numbers in double precision; the other lanes are zero, or are not written.
template <class T>
INLINE Vector<double> load_in_double(const T* p, int64_t n) {
  if constexpr (sizeof(T) == 8) {
    return n == 8 ? load(p) : load(p, n);
  } else {
    typedef float Half __attribute__((vector_size(32)));
#ifdef __AVX512VL__
    const Half half = (Half)_mm256_maskz_loadu_ps((1u << n) - 1, p);
#else
    Half half{};
    memcpy(&half, p, n * sizeof(T));
#endif
    return __builtin_convertvector(half, Vector<double>);
  }
}

template <class T>
INLINE void store_from_double(T* p, Vector<double> v, int64_t n) {
  if constexpr (sizeof(T) == 8) {
    n == 8 ? store(p, v) : store(p, v, n);
  } else {
    typedef float Half __attribute__((vector_size(32)));
    const Half half = __builtin_convertvector(v, Half);
#ifdef __AVX512VL__
    _mm256_mask_storeu_ps(p, (1u << n) - 1, (__m256)half);
#else
    memcpy(p, &half, n * sizeof(T));
#endif
  }
}

template <class T>
INLINE Vector<T> broadcast(T x) {
  return x - Vector<T>{};  // minus, so that -0 stays -0
}

template <class T>
INLINE T sum(Vector<T> v) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) return _mm512_reduce_add_ps((__m512)v);
  else return _mm512_reduce_add_pd((__m512d)v);
#else
  T parts[LANES<T>];
  store(parts, v);
  for (int64_t half = LANES<T> / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; i++) parts[i] += parts[i + half];
  return parts[0];
#endif
}

template <class T>
INLINE Vector<T> larger(Vector<T> x, Vector<T> y) {  // y where either is NaN
  return x > y ? x : y;
}

// exp(x) = scale * (1 + q), with q = exp(r) - 1 for the rest r of x after the powers of two. For |x| <= 80.
template <class T>
struct Exponential {
  Vector<T> scale, q;
};

template <class T>
INLINE Exponential<T> exponential(Vector<T> x) {
  constexpr bool single = sizeof(T) == 4;
  constexpr int mantissa = single ? 23 : 52, bias = single ? 127 : 1023;
  constexpr T log2_e = T(1.44269504088896340736);
  // ln 2 in two parts; products of the first with small integers are exact.
  constexpr T ln2_high = single ? T(0.693359375) : T(6.93145751953125e-1);
  constexpr T ln2_low = single ? T(-2.12194440054690583e-4) : T(1.42860682030941723212e-6);
  constexpr T magic = single ? T(12582912.0) : T(6755399441055744.0);  // 1.5 * 2^mantissa: adding it rounds
  const Vector<T> n = (x * log2_e + magic) - magic;
  const Vector<T> r = (x - n * ln2_high) - n * ln2_low;
  // Taylor's series of (exp(r) - 1 - r) / r^2: |r| <= ln(2) / 2.
  Vector<T> p = broadcast(single ? T(1. / 5040) : T(1. / 87178291200.));
  if constexpr (!single) {
    p = p * r + T(1. / 6227020800.);
    p = p * r + T(1. / 479001600.);
    p = p * r + T(1. / 39916800.);
    p = p * r + T(1. / 3628800.);
    p = p * r + T(1. / 362880.);
    p = p * r + T(1. / 40320.);
    p = p * r + T(1. / 5040.);
  }
  p = p * r + T(1. / 720.);
  p = p * r + T(1. / 120.);
  p = p * r + T(1. / 24.);
  p = p * r + T(1. / 6.);
  p = p * r + T(0.5);
  const Vector<T> q = p * (r * r) + r;
  const Integers<T> power = __builtin_convertvector(n, Integers<T>);
  const Integers<T> bits = (power + bias) << mantissa;
  return {(Vector<T>)bits, q};
}

// exp(x) for x <= 0, zero below the smallest normal number; NaN for NaN. Relative error below 2 eps.
template <class T>
INLINE Vector<T> exp_of_negative(Vector<T> x) {
  constexpr T lowest = sizeof(T) == 4 ? T(-87.3) : T(-708.3);
  const auto [scale, q] = exponential<T>(larger<T>(broadcast(lowest), x));
  const Vector<T> y = scale * q + scale;
  return x < lowest ? Vector<T>{} : y;
}

// tanh(x) = e / (e + 2) with e = exp(2x) - 1, and near zero its series: there it must be x to the last bit. Relative error of a few
// eps elsewhere; exactly +-1 from |x| = 20.
template <class T>
INLINE Vector<T> tanh(Vector<T> x) {
  const Vector<T> near = x > 20 ? broadcast(T(20)) : x < -20 ? broadcast(T(-20)) : x;
  const auto [scale, q] = exponential<T>(near + near);
  const Vector<T> e = scale * q + (scale - 1);
  const Vector<T> square = x * x;
  Vector<T> series = broadcast(T(sizeof(T) == 4 ? 62. / 2835 : 6404582. / 10854718875.));
  if constexpr (sizeof(T) == 8) {
    series = series * square - T(929569. / 638512875.);
    series = series * square + T(21844. / 6081075.);
    series = series * square - T(1382. / 155925.);
    series = series * square + T(62. / 2835.);
  }
  series = series * square - T(17. / 315.);
  series = series * square + T(2. / 15.);
  series = series * square - T(1. / 3.);
  return square < T(0.0225) ? x + x * (square * series) : e / (e + 2);
}

}  // namespace twofold::TWOFOLD_ISA

// Causal softmax attention, strip by strip of queries: a strip has as many queries as a panel has columns, and lanes run along
// them. Scores, their softmax and outputs are transposed, so that keys and values are read as they are, number by number.
#pragma once

#include <utility>

#include "product.h"

namespace twofold::TWOFOLD_ISA {

template <class T>
constexpr int64_t padded(int64_t columns) {
  return (columns + PANEL<T> - 1) / PANEL<T> * PANEL<T>;
}

// What the kernels need for each strip of a block of queries, and for the keys at hand.
template <class T>
struct Strip {
  int64_t low, high;                // the keys that some query sees
  int64_t shared_low, shared_high;  // those that all see
  Integers<T> first[WIDTH], end[WIDTH];  // those that each sees
  Vector<T> maximum[WIDTH], normaliser[WIDTH], inner[WIDTH];
  T *queries, *sums;                 // transposed: (d_k, PANEL); the outputs before the division, or the gradient of the queries
  T *rows, *g, *g_rows;             // the gradient's: queries, and cotangents of outputs, transposed and not
};

template <class T>
constexpr int64_t STRIPS = QUERIES / PANEL<T>;

template <class T>
int64_t attention_scratch(const Attention<T>& job) {
  const int64_t strip = 3 * (padded<T>(job.d_k) + padded<T>(job.d_v)) * PANEL<T>;
  const int64_t strips = job.time < QUERIES ? padded<T>(job.time) / PANEL<T> : STRIPS<T>;
  return strips * strip + TILE * (2 * PANEL<T> + job.d_k + job.d_v) + LANES<T>;
}

// The keys that each query of a strip sees. Those of the gradient's queries that have no finite output see none.
template <class T>
INLINE void look(const Attention<T>& job, int64_t head, int64_t from, int64_t count, bool gradient, Strip<T>& strip) {
  strip.low = strip.shared_high = job.seen, strip.high = strip.shared_low = 0;
  for (int64_t i = 0; i < PANEL<T>; i++) {
    const int64_t t = from + (i < count ? i : count - 1), end = job.seen - job.time + t + 1;
    int64_t first = job.first[t] < 0 ? 0 : job.first[t] > end ? end : job.first[t];
    if (gradient && !(job.normaliser[t * job.heads + head] > 0)) first = end;
    strip.first[i / LANES<T>][i % LANES<T>] = first;
    strip.end[i / LANES<T>][i % LANES<T>] = end;
    if (first < end && first < strip.low) strip.low = first;
    if (first < end && end > strip.high) strip.high = end;
    if (first > strip.shared_low) strip.shared_low = first;
    if (end < strip.shared_high) strip.shared_high = end;
  }
}

// One of the vectors of a strip: which of its queries see the key.
template <class T>
INLINE Integers<T> sees(const Strip<T>& strip, int w, int64_t key) {
  const auto here = decltype(strip.first[w][0] + 0)(key);
  return (strip.first[w] <= here) & (strip.end[w] > here);
}

#ifdef __AVX512F__
// Of two rows of a square, numbers whose columns differ in one bit change places.
template <class T, int BIT, int... I>
INLINE void exchange(Vector<T>& a, Vector<T>& b, std::integer_sequence<int, I...>) {
  const Vector<T> first = __builtin_shufflevector(a, b, (I & BIT ? int(LANES<T>) + I - BIT : I)...);
  b = __builtin_shufflevector(a, b, (I & BIT ? int(LANES<T>) + I : I + BIT)...);
  a = first;
}

template <class T, int BIT>
INLINE void exchange_all(Vector<T>* rows) {
#pragma GCC unroll 16
  for (int i = 0; i < LANES<T>; i++)
    if (!(i & BIT)) exchange<T, BIT>(rows[i], rows[i + BIT], std::make_integer_sequence<int, LANES<T>>{});
  if constexpr (2 * BIT < LANES<T>) exchange_all<T, 2 * BIT>(rows);
}
#endif

// A square of PANEL x PANEL numbers.
template <class T>
INLINE void transpose(const T* from, T* to) {
#ifdef __AVX512F__
  for (int64_t i = 0; i < PANEL<T>; i += LANES<T>)
    for (int64_t j = 0; j < PANEL<T>; j += LANES<T>) {
      Vector<T> rows[LANES<T>];
#pragma GCC unroll 16
      for (int64_t k = 0; k < LANES<T>; k++) rows[k] = load(from + (i + k) * PANEL<T> + j);
      exchange_all<T, 1>(rows);
#pragma GCC unroll 16
      for (int64_t k = 0; k < LANES<T>; k++) store(to + (j + k) * PANEL<T> + i, rows[k]);
    }
#else
  for (int64_t i = 0; i < PANEL<T>; i++)
    for (int64_t j = 0; j < PANEL<T>; j++) to[j * PANEL<T> + i] = from[i * PANEL<T> + j];
#endif
}

// Packs `count` rows of PANEL, times their factors. A row whose factor is zero is zero, whatever is there.
template <class T>
INLINE void pack_rows(int64_t count, int64_t columns, const T* matrix, int64_t row, const T* factor, T* rows) {
  for (int64_t i = 0; i < padded<T>(columns) * PANEL<T>; i += LANES<T>) store(rows + i, Vector<T>{});
  for (int64_t start = 0; start < columns; start += PANEL<T>, rows += PANEL<T> * PANEL<T>)
    for (int64_t i = 0; i < count; i++)
      if (factor[i] != 0)
        for_each_vector<T>(columns - start < PANEL<T> ? columns - start : PANEL<T>,
                           [&](int64_t j, auto load, auto store) INLINE_LAMBDA {
                             store(rows + i * PANEL<T> + j, factor[i] * load(matrix + i * row + start + j));
                           });
}

template <class T>
INLINE void transpose_panels(int64_t columns, const T* rows, T* transposed) {
  for (int64_t i = 0; i < padded<T>(columns) * PANEL<T>; i += PANEL<T> * PANEL<T>) transpose(rows + i, transposed + i);
}

// Writes `count` rows of what is transposed.
template <class T>
INLINE void unpack(int64_t count, int64_t columns, const T* transposed, T* matrix, int64_t row) {
  alignas(64) T square[PANEL<T> * PANEL<T>];
  for (int64_t start = 0; start < columns; start += PANEL<T>) {
    transpose(transposed + start * PANEL<T>, square);
    for (int64_t i = 0; i < count; i++)
      for_each_vector<T>(columns - start < PANEL<T> ? columns - start : PANEL<T>,
                         [&](int64_t j, auto, auto store) INLINE_LAMBDA {
                           store(matrix + i * row + start + j, load(square + i * PANEL<T> + j));
                         });
  }
}

// Keys and values of a tile. Where some are not finite, they are copies, with zeros for a token that has such a number: zero times
// NaN would bring it to queries that do not see it.
template <class T>
struct Tokens {
  const T *k, *v;
  int64_t k_row, v_row;
  bool finite;
  bool bad[TILE];
};

template <class T>
INLINE void tokens_of(const Attention<T>& job, int64_t head, int64_t key, int64_t count, T* copies, Tokens<T>& tokens) {
  const int64_t d_k = job.d_k, d_v = job.d_v;
  tokens.k_row = job.heads * d_k, tokens.v_row = job.heads * d_v;
  tokens.k = job.k + key * tokens.k_row + head * d_k, tokens.v = job.v + key * tokens.v_row + head * d_v;
  tokens.finite = finite(count, d_k, tokens.k, tokens.k_row) && finite(count, d_v, tokens.v, tokens.v_row);
  if (tokens.finite) return;
  T *k = copies, *v = copies + TILE * d_k;
  for (int64_t i = 0; i < count; i++) {
    const T *key_i = tokens.k + i * tokens.k_row, *value_i = tokens.v + i * tokens.v_row;
    const bool bad = tokens.bad[i] = !finite(1, d_k, key_i, 0) || !finite(1, d_v, value_i, 0);
    for (int64_t j = 0; j < d_k; j++) k[i * d_k + j] = bad ? 0 : key_i[j];
    for (int64_t j = 0; j < d_v; j++) v[i * d_v + j] = bad ? 0 : value_i[j];
  }
  tokens.k = k, tokens.v = v, tokens.k_row = d_k, tokens.v_row = d_v;
}

// Of scores to weights exp(s - m), where m is the maximum so far. What came before is made smaller when m grows.
template <class T>
INLINE void weigh(Strip<T>& strip, int64_t key, int64_t count, int64_t d_v, T* tile) {
  const T none = -T(__builtin_inf());
  Vector<T> m[WIDTH];
  for (int w = 0; w < WIDTH; w++) m[w] = strip.maximum[w];
  const bool all = key >= strip.shared_low && key + count <= strip.shared_high;
  for (int64_t i = 0; i < count; i++)
#pragma GCC unroll 8
    for (int w = 0; w < WIDTH; w++) {
      T* const at = tile + i * PANEL<T> + w * LANES<T>;
      Vector<T> score = load(at);
      if (!all) store(at, score = sees(strip, w, key + i) ? score : broadcast(none));
      m[w] = larger<T>(m[w], score);
    }
  for (int w = 0; w < WIDTH; w++) {
    const Vector<T> faded = exp_of_negative<T>(strip.maximum[w] - m[w]);
    Vector<T> sum{};
    for (int64_t i = 0; i < count; i++) {
      T* const at = tile + i * PANEL<T> + w * LANES<T>;
      const Vector<T> weight = exp_of_negative<T>(load(at) - m[w]);
      store(at, weight);
      sum += weight;
    }
    strip.maximum[w] = m[w];
    strip.normaliser[w] = strip.normaliser[w] * faded + sum;
    for (int64_t i = 0; i < d_v; i++) {
      T* const at = strip.sums + i * PANEL<T> + w * LANES<T>;
      store(at, load(at) * faded);
    }
  }
}

// The queries' dtype may hold scores down to -max; exp of a difference of two such numbers is zero, or one, never NaN.
template <class T>
constexpr T LOWEST = sizeof(T) == 4 ? T(-3.4e38) : T(-1.7e308);

template <class T>
INLINE T* aligned(T* p) {
  return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(p) + 63) / 64 * 64);
}

template <class T>
T root(int64_t n);
template <>
INLINE float root<float>(int64_t n) {
  return __builtin_sqrtf(float(n));
}
template <>
INLINE double root<double>(int64_t n) {
  return __builtin_sqrt(double(n));
}

template <class T>
void attention_forward(const Attention<T>& job, int64_t head, int64_t from, int64_t to, T* scratch) {
  const int64_t d_k = job.d_k, d_v = job.d_v;
  T* const tile = aligned(scratch);
  T* next = tile + TILE * PANEL<T>;
  T scales[PANEL<T>];
  for (T& scale : scales) scale = 1 / root<T>(d_k);
  Strip<T> strips[STRIPS<T>];
  const int64_t number = (to - from + PANEL<T> - 1) / PANEL<T>;
  int64_t low = job.seen, high = 0;
  for (int64_t s = 0; s < number; s++) {
    Strip<T>& strip = strips[s];
    const int64_t start = from + s * PANEL<T>, count = to - start < PANEL<T> ? to - start : PANEL<T>;
    look(job, head, start, count, false, strip);
    low = strip.low < low ? strip.low : low, high = strip.high > high ? strip.high : high;
    strip.queries = next, strip.sums = next += padded<T>(d_k) * PANEL<T>;
    strip.rows = next += padded<T>(d_v) * PANEL<T>;  // which the next strip may have
    pack_rows(count, d_k, job.q + (start * job.heads + head) * d_k, job.heads * d_k, scales, strip.rows);
    transpose_panels(d_k, strip.rows, strip.queries);
    for (int64_t i = 0; i < padded<T>(d_v) * PANEL<T>; i += LANES<T>) store(strip.sums + i, Vector<T>{});
    for (int w = 0; w < WIDTH; w++) {
      strip.maximum[w] = broadcast(LOWEST<T>), strip.normaliser[w] = Vector<T>{};
      Vector<T> nothing{};  // or NaN, where a query is not finite
      for (int64_t i = 0; i < d_k; i++) nothing += 0 * load(strip.queries + i * PANEL<T> + w * LANES<T>);
      if (d_k > 0) store(strip.queries + w * LANES<T>, load(strip.queries + w * LANES<T>) + nothing);
    }
  }
  T* const copies = next + padded<T>(d_k) * PANEL<T>;
  for (int64_t key = low; key < high; key += TILE) {
    Tokens<T> tokens;
    const int64_t end = high < key + TILE ? high : key + TILE;
    tokens_of(job, head, key, end - key, copies, tokens);
    for (int64_t s = 0; s < number; s++) {
      Strip<T>& strip = strips[s];
      const int64_t first = strip.low > key ? strip.low : key, count = (strip.high < end ? strip.high : end) - first;
      if (count <= 0) continue;
      const T *k = tokens.k + (first - key) * tokens.k_row, *v = tokens.v + (first - key) * tokens.v_row;
      product<T>(count, PANEL<T>, d_k, k, tokens.k_row, 1, strip.queries, d_k, nullptr, 0, tile, PANEL<T>);
      if (!tokens.finite)
        for (int64_t i = 0; i < count; i++)
          for (int64_t j = 0; tokens.bad[first - key + i] && j < PANEL<T>; j++) tile[i * PANEL<T> + j] = T(__builtin_nan(""));
      weigh(strip, first, count, d_v, tile);
      product<T>(d_v, PANEL<T>, count, v, 1, tokens.v_row, tile, count, strip.sums, PANEL<T>, strip.sums, PANEL<T>);
    }
  }
  for (int64_t s = 0; s < number; s++) {
    Strip<T>& strip = strips[s];
    const int64_t start = from + s * PANEL<T>, count = to - start < PANEL<T> ? to - start : PANEL<T>;
    for (int w = 0; w < WIDTH; w++) {
      const Vector<T> share = strip.normaliser[w] == 0 ? Vector<T>{} : 1 / strip.normaliser[w];
      for (int64_t i = 0; i < d_v; i++) {
        T* const at = strip.sums + i * PANEL<T> + w * LANES<T>;
        store(at, load(at) * share);
      }
    }
    unpack(count, d_v, strip.sums, job.out + (start * job.heads + head) * d_v, job.heads * d_v);
    for (int64_t i = 0; i < count; i++) {
      job.maximum[(start + i) * job.heads + head] = strip.maximum[i / LANES<T>][i % LANES<T>];
      job.normaliser[(start + i) * job.heads + head] = strip.normaliser[i / LANES<T>][i % LANES<T>];
    }
  }
}

// Of scores to weights p = exp(s - m), and of their cotangents to those of the scores, p * (dp - <dout, out>).
template <class T>
INLINE void pull_back(const Strip<T>& strip, int64_t key, int64_t count, T* weights, T* cotangents) {
  const bool all = key >= strip.shared_low && key + count <= strip.shared_high;
  for (int64_t i = 0; i < count; i++)
#pragma GCC unroll 8
    for (int w = 0; w < WIDTH; w++) {
      T *const p_at = weights + i * PANEL<T> + w * LANES<T>, *const d_at = cotangents + i * PANEL<T> + w * LANES<T>;
      Vector<T> p = exp_of_negative<T>(load(p_at) - strip.maximum[w]);
      Vector<T> d = p * (load(d_at) - strip.inner[w]);
      if (!all) {
        const auto seen = sees(strip, w, key + i);
        p = seen ? p : Vector<T>{}, d = seen ? d : Vector<T>{};
      }
      store(p_at, p), store(d_at, d);
    }
}

template <class T>
void attention_backward(const Attention<T>& job, int64_t head, int64_t from, int64_t to, T* scratch) {
  const int64_t d_k = job.d_k, d_v = job.d_v, q_row = job.heads * d_k, o_row = job.heads * d_v;
  T *const weights = aligned(scratch), *const cotangents = weights + TILE * PANEL<T>;
  T* next = cotangents + TILE * PANEL<T>;
  Strip<T> strips[STRIPS<T>];
  const int64_t number = (to - from + PANEL<T> - 1) / PANEL<T>;
  const T scale = 1 / root<T>(d_k);
  int64_t low = job.seen, high = 0;
  for (int64_t s = 0; s < number; s++) {
    Strip<T>& strip = strips[s];
    const int64_t start = from + s * PANEL<T>, count = to - start < PANEL<T> ? to - start : PANEL<T>;
    look(job, head, start, count, true, strip);
    low = strip.low < low ? strip.low : low, high = strip.high > high ? strip.high : high;
    const int64_t of_keys = padded<T>(d_k) * PANEL<T>, of_values = padded<T>(d_v) * PANEL<T>;
    strip.queries = next, strip.rows = next += of_keys, strip.sums = next += of_keys;
    strip.g = next += of_keys, strip.g_rows = next += of_values;
    next += of_values;
    // With the cotangents of outputs divided by the normaliser, the weights need not be.
    T scales[PANEL<T>], shares[PANEL<T>];
    for (int64_t i = 0; i < PANEL<T>; i++) {
      const int64_t row = (start + i) * job.heads + head;
      const bool used = i < count && job.normaliser[row] > 0;
      scales[i] = used ? scale : 0, shares[i] = used ? 1 / job.normaliser[row] : 0;
      strip.maximum[i / LANES<T>][i % LANES<T>] = used ? job.maximum[row] : 0;
      Vector<T> inner{};
      if (used)
        for_each_vector<T>(d_v, [&](int64_t j, auto load, auto) INLINE_LAMBDA {
          inner += load(job.g + row * d_v + j) * load(job.out + row * d_v + j);
        });
      strip.inner[i / LANES<T>][i % LANES<T>] = sum<T>(inner) * shares[i];
    }
    pack_rows(count, d_k, job.q + (start * job.heads + head) * d_k, q_row, scales, strip.rows);
    pack_rows(count, d_v, job.g + (start * job.heads + head) * d_v, o_row, shares, strip.g_rows);
    transpose_panels(d_k, strip.rows, strip.queries);
    transpose_panels(d_v, strip.g_rows, strip.g);
    for (int64_t i = 0; i < of_keys; i += LANES<T>) store(strip.sums + i, Vector<T>{});
  }
  for (int64_t key = low; key < high; key += TILE) {
    Tokens<T> tokens;
    const int64_t end = high < key + TILE ? high : key + TILE;
    tokens_of(job, head, key, end - key, next, tokens);
    for (int64_t s = 0; s < number; s++) {
      Strip<T>& strip = strips[s];
      const int64_t first = strip.low > key ? strip.low : key, count = (strip.high < end ? strip.high : end) - first;
      if (count <= 0) continue;
      const T *k = tokens.k + (first - key) * tokens.k_row, *v = tokens.v + (first - key) * tokens.v_row;
      T* const dk = job.dk + (first * job.heads + head) * d_k;
      T* const dv = job.dv + (first * job.heads + head) * d_v;
      product<T>(count, PANEL<T>, d_k, k, tokens.k_row, 1, strip.queries, d_k, nullptr, 0, weights, PANEL<T>);
      product<T>(count, PANEL<T>, d_v, v, tokens.v_row, 1, strip.g, d_v, nullptr, 0, cotangents, PANEL<T>);
      pull_back(strip, first, count, weights, cotangents);
      product<T>(count, d_v, PANEL<T>, weights, PANEL<T>, 1, strip.g_rows, PANEL<T>, dv, o_row, dv, o_row);
      product<T>(count, d_k, PANEL<T>, cotangents, PANEL<T>, 1, strip.rows, PANEL<T>, dk, q_row, dk, q_row);
      product<T>(d_k, PANEL<T>, count, k, 1, tokens.k_row, cotangents, count, strip.sums, PANEL<T>, strip.sums, PANEL<T>);
    }
  }
  for (int64_t s = 0; s < number; s++) {
    const int64_t start = from + s * PANEL<T>, count = to - start < PANEL<T> ? to - start : PANEL<T>;
    for (int64_t i = 0; i < d_k * PANEL<T>; i += LANES<T>) store(strips[s].sums + i, load(strips[s].sums + i) * scale);
    unpack(count, d_k, strips[s].sums, job.dq + (start * job.heads + head) * d_k, q_row);
  }
}

}  // namespace twofold::TWOFOLD_ISA

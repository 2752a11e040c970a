// Causal softmax attention, strip by strip of queries: a strip has as many queries as a panel has columns, and lanes run along
// them. Scores, their softmax and outputs are transposed, so that keys and values are read as they are, number by number.
#pragma once

#include <utility>  // integer_sequence, which is types alone

#include "product.h"

namespace twofold::TWOFOLD_ISA {

// What the kernels keep of each strip of a block of queries.
template <class T>
struct Strip {
  int64_t from, count;                   // its queries; the panel has the last one again in what is left
  int64_t low, high;                     // the keys that some query sees
  int64_t shared_low, shared_high;       // those that all see
  Integers<T> first[WIDTH], end[WIDTH];  // those that each sees
  Vector<T> maximum[WIDTH], normaliser[WIDTH], inner[WIDTH];
  T *queries, *rows;  // queries over sqrt(d_k), transposed and not
  T* sums;            // transposed: outputs before the division; the gradient's are those of the queries
  T *g, *g_rows;      // the gradient's: the cotangents of outputs, transposed and not
};

template <class T>
constexpr int64_t STRIPS = QUERIES / PANEL<T>;

template <class T>
constexpr int64_t padded(int64_t columns) {
  return (columns + PANEL<T> - 1) / PANEL<T> * PANEL<T>;
}

template <class T>
int64_t attention_scratch(const Attention<T>& job) {
  const int64_t strips = job.time < QUERIES ? padded<T>(job.time) / PANEL<T> : STRIPS<T>;
  const int64_t strip = (3 * padded<T>(job.d_k) + 2 * padded<T>(job.d_v)) * PANEL<T>;
  return strips * strip + TILE * (2 * PANEL<T> + job.d_k + job.d_v) + LANES<T>;
}

// Cuts the queries [from, to) into strips, and finds the keys that each query sees: for the gradient none, if its output is not
// finite or of no keys. Returns how many strips there are.
template <class T>
int64_t cut(const Attention<T>& job, int64_t head, int64_t from, int64_t to, bool gradient, Strip<T>* strips) {
  int64_t number = 0;
  for (; from < to; from += PANEL<T>, number++) {
    Strip<T>& strip = strips[number];
    strip.from = from, strip.count = to - from < PANEL<T> ? to - from : PANEL<T>;
    strip.low = strip.shared_high = job.seen, strip.high = strip.shared_low = 0;
    for (int64_t i = 0; i < PANEL<T>; i++) {
      const int64_t t = from + (i < strip.count ? i : strip.count - 1), end = job.seen - job.time + t + 1;
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
  return number;
}

// One of the vectors of a strip: which of its queries see the key.
template <class T>
INLINE Integers<T> sees(const Strip<T>& strip, int w, int64_t key) {
  const auto here = decltype(strip.first[w][0] + 0)(key);
  return (strip.first[w] <= here) & (strip.end[w] > here);
}

template <class T>
INLINE bool all_see(const Strip<T>& strip, int64_t key, int64_t count) {
  return key >= strip.shared_low && key + count <= strip.shared_high;
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

// Packs `count` rows times their factors, and then transposes them. A row whose factor is zero is zero, whatever is there.
template <class T>
INLINE void pack_both(int64_t count, int64_t columns, const T* matrix, int64_t row, const T* factor, T* rows, T* transposed) {
  for (int64_t i = 0; i < padded<T>(columns) * PANEL<T>; i += LANES<T>) store(rows + i, Vector<T>{});
  for (int64_t start = 0; start < columns; start += PANEL<T>) {
    T* const square = rows + start * PANEL<T>;
    for (int64_t i = 0; i < count; i++)
      if (factor[i] != 0)
        for_each_vector<T>(columns - start < PANEL<T> ? columns - start : PANEL<T>,
                           [&](int64_t j, auto load, auto store) INLINE_LAMBDA {
                             store(square + i * PANEL<T> + j, factor[i] * load(matrix + i * row + start + j));
                           });
    transpose(square, transposed + start * PANEL<T>);
  }
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

// Multiplies each column of what is transposed, (rows, PANEL).
template <class T>
INLINE void scale_columns(int64_t rows, T* transposed, const Vector<T> (&factor)[WIDTH]) {
  for (int64_t i = 0; i < rows; i++)
    for (int w = 0; w < WIDTH; w++) {
      T* const at = transposed + i * PANEL<T> + w * LANES<T>;
      store(at, load(at) * factor[w]);
    }
}

// Keys and values from token `from` on. Where some are not finite, they are copies, with zeros for a token that has such a number:
// zero times NaN would bring it to queries that do not see it.
template <class T>
struct Tokens {
  int64_t from, k_row, v_row;
  const T *k, *v;
  bool finite;
  bool bad[TILE];
  const T* key(int64_t s) const { return k + (s - from) * k_row; }
  const T* value(int64_t s) const { return v + (s - from) * v_row; }
};

template <class T>
INLINE Tokens<T> tokens_of(const Attention<T>& job, int64_t head, int64_t from, int64_t count, T* copies) {
  const int64_t d_k = job.d_k, d_v = job.d_v;
  Tokens<T> tokens;
  tokens.from = from, tokens.k_row = job.heads * d_k, tokens.v_row = job.heads * d_v;
  tokens.k = job.k + (from * job.heads + head) * d_k, tokens.v = job.v + (from * job.heads + head) * d_v;
  tokens.finite = finite(count, d_k, tokens.k, tokens.k_row) && finite(count, d_v, tokens.v, tokens.v_row);
  if (tokens.finite) return tokens;
  T *const keys = copies, *const values = copies + TILE * d_k;
  for (int64_t i = 0; i < count; i++) {
    const T *k = tokens.k + i * tokens.k_row, *v = tokens.v + i * tokens.v_row;
    const bool bad = tokens.bad[i] = !finite(1, d_k, k, 0) || !finite(1, d_v, v, 0);
    for (int64_t j = 0; j < d_k; j++) keys[i * d_k + j] = bad ? 0 : k[j];
    for (int64_t j = 0; j < d_v; j++) values[i * d_v + j] = bad ? 0 : v[j];
  }
  tokens.k = keys, tokens.v = values, tokens.k_row = d_k, tokens.v_row = d_v;
  return tokens;
}

// Calls f(strip, tokens, key, count) for each tile of keys and each strip, [key, key + count) the keys there that it sees.
template <class T, class F>
INLINE void over_tiles(const Attention<T>& job, int64_t head, int64_t number, Strip<T>* strips, T* copies, F&& f) {
  int64_t low = job.seen, high = 0;
  for (int64_t s = 0; s < number; s++) {
    if (strips[s].low < low) low = strips[s].low;
    if (strips[s].high > high) high = strips[s].high;
  }
  for (int64_t tile = low; tile < high; tile += TILE) {
    const int64_t end = high < tile + TILE ? high : tile + TILE;
    const auto tokens = tokens_of(job, head, tile, end - tile, copies);
    for (int64_t s = 0; s < number; s++) {
      const int64_t key = strips[s].low > tile ? strips[s].low : tile;
      const int64_t count = (strips[s].high < end ? strips[s].high : end) - key;
      if (count > 0) f(strips[s], tokens, key, count);
    }
  }
}

// Scores to weights exp(s - m), m the largest so far. What was summed before becomes smaller where m grows.
template <class T>
INLINE void weigh(Strip<T>& strip, int64_t key, int64_t count, int64_t d_v, T* tile) {
  const bool all = all_see(strip, key, count);
  Vector<T> m[WIDTH], faded[WIDTH];
  for (int w = 0; w < WIDTH; w++) m[w] = strip.maximum[w];
  for (int64_t i = 0; i < count; i++)
#pragma GCC unroll 8
    for (int w = 0; w < WIDTH; w++) {
      T* const at = tile + i * PANEL<T> + w * LANES<T>;
      Vector<T> score = load(at);
      if (!all) store(at, score = sees(strip, w, key + i) ? score : broadcast(-T(__builtin_inf())));
      m[w] = larger<T>(m[w], score);
    }
  for (int w = 0; w < WIDTH; w++) {
    Vector<T> sum{};
    for (int64_t i = 0; i < count; i++) {
      T* const at = tile + i * PANEL<T> + w * LANES<T>;
      const Vector<T> weight = exp_of_negative<T>(load(at) - m[w]);
      store(at, weight);
      sum += weight;
    }
    faded[w] = exp_of_negative<T>(strip.maximum[w] - m[w]);
    strip.normaliser[w] = strip.normaliser[w] * faded[w] + sum;
    strip.maximum[w] = m[w];
  }
  scale_columns<T>(d_v, strip.sums, faded);
}

template <class T>
INLINE T* aligned(T* p) {
  return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(p) + 63) / 64 * 64);
}

template <class T>
INLINE T scale_of(int64_t d_k) {
  if constexpr (sizeof(T) == 4) return 1 / __builtin_sqrtf(float(d_k));
  else return 1 / __builtin_sqrt(double(d_k));
}

// Of a strip that has seen nothing. A query that is not finite becomes NaN, whichever infinity it holds.
template <class T>
INLINE void begin(const Attention<T>& job, int64_t head, Strip<T>& strip) {
  constexpr T lowest = sizeof(T) == 4 ? T(-3.4e38) : T(-1.7e308);  // finite, so that differences are never inf - inf
  T scales[PANEL<T>];
  for (T& scale : scales) scale = scale_of<T>(job.d_k);
  const T* q = job.q + (strip.from * job.heads + head) * job.d_k;
  pack_both(strip.count, job.d_k, q, job.heads * job.d_k, scales, strip.rows, strip.queries);
  for (int64_t i = 0; i < job.d_v * PANEL<T>; i += LANES<T>) store(strip.sums + i, Vector<T>{});
  for (int w = 0; w < WIDTH; w++) {
    strip.maximum[w] = broadcast(lowest), strip.normaliser[w] = Vector<T>{};
    Vector<T> nothing{};  // zeros, or NaN
    for (int64_t i = 0; i < job.d_k; i++) nothing += 0 * load(strip.queries + i * PANEL<T> + w * LANES<T>);
    if (job.d_k > 0) store(strip.queries + w * LANES<T>, load(strip.queries + w * LANES<T>) + nothing);
  }
}

template <class T>
INLINE void finish(const Attention<T>& job, int64_t head, Strip<T>& strip) {
  Vector<T> share[WIDTH];
  for (int w = 0; w < WIDTH; w++) share[w] = strip.normaliser[w] == 0 ? Vector<T>{} : 1 / strip.normaliser[w];
  scale_columns<T>(job.d_v, strip.sums, share);
  const int64_t row = strip.from * job.heads + head;
  unpack(strip.count, job.d_v, strip.sums, job.out + row * job.d_v, job.heads * job.d_v);
  for (int64_t i = 0; i < strip.count; i++) {
    job.maximum[row + i * job.heads] = strip.maximum[i / LANES<T>][i % LANES<T>];
    job.normaliser[row + i * job.heads] = strip.normaliser[i / LANES<T>][i % LANES<T>];
  }
}

template <class T>
void attention_forward(const Attention<T>& job, int64_t head, int64_t from, int64_t to, T* scratch) {
  const int64_t d_k = job.d_k, d_v = job.d_v;
  T *const scores = aligned(scratch), *next = scores + TILE * PANEL<T>;
  Strip<T> strips[STRIPS<T>];
  const int64_t number = cut(job, head, from, to, false, strips);
  for (int64_t s = 0; s < number; s++) {
    strips[s].queries = next, strips[s].sums = next += padded<T>(d_k) * PANEL<T>;
    strips[s].rows = next += padded<T>(d_v) * PANEL<T>;  // needed here alone: the next strip has this memory
    begin(job, head, strips[s]);
  }
  T* const copies = next + padded<T>(d_k) * PANEL<T>;
  over_tiles(job, head, number, strips, copies, [&](Strip<T>& strip, const Tokens<T>& tokens, int64_t key, int64_t count) {
    product<T>(count, PANEL<T>, d_k, tokens.key(key), tokens.k_row, 1, strip.queries, d_k, nullptr, 0, scores, PANEL<T>);
    for (int64_t i = 0; !tokens.finite && i < count; i++)
      for (int64_t j = 0; tokens.bad[key - tokens.from + i] && j < PANEL<T>; j++)
        scores[i * PANEL<T> + j] = T(__builtin_nan(""));
    weigh(strip, key, count, d_v, scores);
    product<T>(d_v, PANEL<T>, count, tokens.value(key), 1, tokens.v_row, scores, count, strip.sums, PANEL<T>, strip.sums, PANEL<T>);
  });
  for (int64_t s = 0; s < number; s++) finish(job, head, strips[s]);
}

// Queries and the cotangents of outputs. With these divided by the normaliser, weights need not be. Those of a query that sees no
// key are zero.
template <class T>
INLINE void begin_backward(const Attention<T>& job, int64_t head, Strip<T>& strip) {
  const int64_t d_k = job.d_k, d_v = job.d_v;
  T scales[PANEL<T>], shares[PANEL<T>];
  for (int64_t i = 0; i < PANEL<T>; i++) {
    const int64_t row = (strip.from + i) * job.heads + head;
    const bool used = i < strip.count && job.normaliser[row] > 0;
    scales[i] = used ? scale_of<T>(d_k) : 0, shares[i] = used ? 1 / job.normaliser[row] : 0;
    Vector<T> inner{};
    if (used)
      for_each_vector<T>(d_v, [&](int64_t j, auto load, auto) INLINE_LAMBDA {
        inner += load(job.g + row * d_v + j) * load(job.out + row * d_v + j);
      });
    strip.inner[i / LANES<T>][i % LANES<T>] = sum<T>(inner) * shares[i];
    strip.maximum[i / LANES<T>][i % LANES<T>] = used ? job.maximum[row] : 0;
  }
  const int64_t row = strip.from * job.heads + head;
  pack_both(strip.count, d_k, job.q + row * d_k, job.heads * d_k, scales, strip.rows, strip.queries);
  pack_both(strip.count, d_v, job.g + row * d_v, job.heads * d_v, shares, strip.g_rows, strip.g);
  for (int64_t i = 0; i < d_k * PANEL<T>; i += LANES<T>) store(strip.sums + i, Vector<T>{});
}

// Scores to weights p = exp(s - m), and their cotangents to those of the scores, p * (dp - <dout, out>).
template <class T>
INLINE void pull_back(const Strip<T>& strip, int64_t key, int64_t count, T* weights, T* cotangents) {
  const bool all = all_see(strip, key, count);
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
  const int64_t d_k = job.d_k, d_v = job.d_v, k_row = job.heads * d_k, v_row = job.heads * d_v;
  T *const weights = aligned(scratch), *const cotangents = weights + TILE * PANEL<T>;
  T* next = cotangents + TILE * PANEL<T>;
  Strip<T> strips[STRIPS<T>];
  const int64_t number = cut(job, head, from, to, true, strips);
  for (int64_t s = 0; s < number; s++) {
    Strip<T>& strip = strips[s];
    strip.queries = next, strip.rows = next += padded<T>(d_k) * PANEL<T>, strip.sums = next += padded<T>(d_k) * PANEL<T>;
    strip.g = next += padded<T>(d_k) * PANEL<T>, strip.g_rows = next += padded<T>(d_v) * PANEL<T>;
    next += padded<T>(d_v) * PANEL<T>;
    begin_backward(job, head, strip);
  }
  over_tiles(job, head, number, strips, next, [&](Strip<T>& strip, const Tokens<T>& tokens, int64_t key, int64_t count) {
    const T *k = tokens.key(key), *v = tokens.value(key);
    T *const dk = job.dk + (key * job.heads + head) * d_k, *const dv = job.dv + (key * job.heads + head) * d_v;
    product<T>(count, PANEL<T>, d_k, k, tokens.k_row, 1, strip.queries, d_k, nullptr, 0, weights, PANEL<T>);
    product<T>(count, PANEL<T>, d_v, v, tokens.v_row, 1, strip.g, d_v, nullptr, 0, cotangents, PANEL<T>);
    pull_back(strip, key, count, weights, cotangents);
    product<T>(count, d_v, PANEL<T>, weights, PANEL<T>, 1, strip.g_rows, PANEL<T>, dv, v_row, dv, v_row);
    product<T>(count, d_k, PANEL<T>, cotangents, PANEL<T>, 1, strip.rows, PANEL<T>, dk, k_row, dk, k_row);
    product<T>(d_k, PANEL<T>, count, k, 1, tokens.k_row, cotangents, count, strip.sums, PANEL<T>, strip.sums, PANEL<T>);
  });
  Vector<T> scale[WIDTH];
  for (auto& each : scale) each = broadcast(scale_of<T>(d_k));
  for (int64_t s = 0; s < number; s++) {
    scale_columns<T>(d_k, strips[s].sums, scale);
    unpack(strips[s].count, d_k, strips[s].sums, job.dq + (strips[s].from * job.heads + head) * d_k, k_row);
  }
}

}  // namespace twofold::TWOFOLD_ISA

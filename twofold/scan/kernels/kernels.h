// What the kernels compute, as plain data and function pointers: the same for every instruction set they are compiled for.
//
// Arrays are dense and time first, for one sequence. `resets` is null where there are none.
#pragma once

#include <cstdint>

namespace twofold {

constexpr int64_t TILE = 64;  // Tokens a kernel takes at a time: what it reads and writes for them stays in the L2 cache.

constexpr int64_t QUERIES = 128;  // Queries that attention takes at a time: what each thread begins with.

// Stands for "nothing seen yet" among scores, as in softmax.py.
constexpr double EMPTY = -1e30;

// h_t = a_t * h_{t-1} + b_t, and its gradient. `t` counts in the order of the recurrence, whichever way it runs.
template <class T>
struct Linear {
  int64_t time, heads, dim;
  bool constant, reverse;
  bool streams;  // results go past the cache
  const T *a, *b;  // (time, heads), or (1, heads) of a constant one; (time, heads, dim)
  const bool* resets;
  T* h;

  // The gradient's: b is then the cotangent g of h.
  const T *h0, *states;
  T *da, *db;
};

template <class T>
struct LinearKernels {
  // Tokens [from, to) from `state`, (heads, dim), which it leaves at the last. Where `decay`, (heads, dim), is given, h is
  // not written, and decay is multiplied by every a_t.
  void (*forward)(const Linear<T>&, int64_t from, int64_t to, T* state, T* decay);
  // Tokens [from, to) of the time-reversed recurrence R_t = g_t + a_{t+1} R_{t+1}, from `state` = a_{t+1} R_{t+1}. da of
  // a constant a is added to `da`. With `decay` likewise.
  void (*backward)(const Linear<T>&, int64_t from, int64_t to, T* state, T* decay, T* da);
};

// o_t = (1 - alpha_t) o_{t-1} + alpha_t v_t, alpha_t the softmax weight of the last of t scores, and its gradient.
template <class T>
struct Softmax {
  int64_t time, heads, dim;
  bool streams;
  const T *scores, *values;
  const bool* resets;
  T *alpha, *kept;  // (time, heads): alpha_t and 1 - alpha_t
  T* out;

  // The gradient's: g is the cotangent of out.
  const T* g;
  T *dscores, *dvalues;
  const T *maximum, *reference;  // (heads,): what is added to dscores where a score is the maximum, from `last_reset` on
  int64_t last_reset;
};

template <class T>
struct SoftmaxKernels {
  // alpha and kept of tokens [from, to), given the maximum and normaliser before, (heads,), which it leaves at the last.
  void (*weigh)(const Softmax<T>&, int64_t from, int64_t to, T* maximum, double* normaliser);
  // Tokens [from, to) from o_{t-1} = `state` + `rest`, both (heads, dim), which it leaves at the last: `state` is their sum
  // rounded, `rest` what that leaves out. An average of millions of tokens moves by less than its own rounding.
  void (*forward)(const Softmax<T>&, int64_t from, int64_t to, T* state, T* rest);
  // What [from, to) make of any state before them: effect + decay * state. The effect, (heads, dim), begins at zero.
  void (*effect)(const Softmax<T>&, int64_t from, int64_t to, T* effect, double* decay);
  // Tokens [from, to) counted from the end, from `state`, R_{t+1} as seen from t, and `inner`, r_{t+1} likewise.
  void (*backward)(const Softmax<T>&, int64_t from, int64_t to, T* state, double* inner, T* decay);
};

// o_t = sum_{s<=t} v_s <k_s, q_t>; in reverse, of all s >= t.
template <class T>
struct Kv {
  int64_t time, heads, d_k, d_v;
  bool reverse;
  const T *q, *k, *v;
  const int32_t* segments;  // null if there is one alone
  int32_t segment;          // that of the initial state
  const T* state;           // (heads, d_k, d_v)
  T *out, *last;
};

template <class T>
struct KvKernels {
  int64_t (*scratch)(const Kv<T>&);  // numbers it needs to work with
  void (*forward)(const Kv<T>&, int64_t head, T* scratch);
};

// o_t = sum_s softmax_s(<q_t, k_s> / sqrt(d_k)) v_s over the keys first[t] <= s <= seen - time + t, and its gradient.
template <class T>
struct Attention {
  int64_t time, seen, heads, d_k, d_v;
  const T *q, *k, *v;  // (time, heads, d_k), (seen, heads, d_k), (seen, heads, d_v)
  const int32_t* first;
  T *out, *maximum, *normaliser;  // the last two (time, heads): m, the largest score; sum of exp(s - m), NaN if out is

  // The gradient's: g is the cotangent of out. What a block of queries adds to dk and dv is added.
  const T* g;
  T *dq, *dk, *dv;
};

template <class T>
struct AttentionKernels {
  int64_t (*scratch)(const Attention<T>&);  // numbers it needs to work with
  // One head of the queries [from, to), at most QUERIES.
  void (*forward)(const Attention<T>&, int64_t head, int64_t from, int64_t to, T* scratch);
  void (*backward)(const Attention<T>&, int64_t head, int64_t from, int64_t to, T* scratch);
};

// Rows of a batch that share weights; `*_row` is the distance of two rows' first numbers, 0 where all share one.
template <class T>
struct Rows {
  T* data;
  int64_t row;
  T* at(int64_t i) const { return data + i * row; }
};

// Cotangents of second order, of what the backward pass keeps, are absent in first derivatives: null data.
template <class T>
struct Lstm {
  int64_t rows, time, hidden;
  const T* weights;  // packed: V^T, (hidden, 4 hidden); backward V
  Rows<bool> resets;
  Rows<T> inputs, h0, c0;
  Rows<T> h, c_before, gates, h_last, c_last;

  Rows<T> dh, dc_before, dgates, dh_last, dc_last;
  Rows<T> d, dh0, dc0;
};

template <class T>
struct Gru {
  int64_t rows, time, hidden;
  const T *weights_r, *weights_h, *weights_z;  // packed: V^T of each gate, (hidden, hidden); backward V
  Rows<T> bias;                                // b_n, where the reset comes after the product; null: before
  Rows<bool> resets;
  Rows<T> inputs, h0;
  Rows<T> h, gates, products, h_last;  // products: V_h h + b_n

  Rows<T> dh, dgates, dproducts, dh_last;
  Rows<T> d, d_products, dh0;
};

template <class T>
struct RecurrentKernels {
  int64_t (*packed_size)(int64_t rows, int64_t columns);
  void (*pack)(int64_t rows, int64_t columns, const T* matrix, int64_t row, int64_t column, T* packed);
  // Rows [from, to) of the batch, all tokens; `scratch` has 2 * hidden numbers a row.
  void (*lstm)(const Lstm<T>&, int64_t from, int64_t to, T* scratch);
  void (*lstm_backward)(const Lstm<T>&, int64_t from, int64_t to, T* scratch);
  void (*gru)(const Gru<T>&, int64_t from, int64_t to, T* scratch);
  void (*gru_backward)(const Gru<T>&, int64_t from, int64_t to, T* scratch);
};

template <class T>
struct KernelsOf {
  LinearKernels<T> linear, linear_complex;
  SoftmaxKernels<T> softmax;
  KvKernels<T> kv;
  AttentionKernels<T> attention;
  RecurrentKernels<T> recurrent;
};

struct Kernels {
  KernelsOf<float> single;
  KernelsOf<double> in_double;
};

}  // namespace twofold

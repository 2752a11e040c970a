// Linear attention, chunk by chunk: within a chunk as masked scores, across chunks through the state S.
#pragma once

#include "product.h"

namespace twofold::TWOFOLD_ISA {

template <class T>
int64_t kv_scratch(const Kv<T>& job) {
  return packed_size<T>(job.d_k, TILE) + packed_size<T>(TILE, job.d_v) + packed_size<T>(job.d_k, job.d_v) + ROWS * TILE +
         job.d_k * job.d_v;
}

// A chunk, token by token: where a value is NaN or infinite, a masked score must not multiply it.
template <class T>
void kv_tokens(const Kv<T>& job, int64_t head, int64_t start, int64_t count, T* state) {
  for (int64_t step = 0; step < count; step++) {
    const int64_t token = (start + (job.reverse ? count - 1 - step : step)) * job.heads + head;
    const T *q = job.q + token * job.d_k, *k = job.k + token * job.d_k, *v = job.v + token * job.d_v;
    for (int64_t j = 0; j < job.d_v; j++) {
      T out = 0;
      for (int64_t i = 0; i < job.d_k; i++) {
        state[i * job.d_v + j] += k[i] * v[j];
        out += q[i] * state[i * job.d_v + j];
      }
      job.out[token * job.d_v + j] = out;
    }
  }
}

template <class T>
void kv_forward(const Kv<T>& job, int64_t head, T* scratch) {
  const int64_t d_k = job.d_k, d_v = job.d_v, k_row = job.heads * d_k, v_row = job.heads * d_v;
  T* const keys = scratch;  // packed, transposed
  T* const values = keys + packed_size<T>(d_k, TILE);
  T* const packed_state = values + packed_size<T>(TILE, d_v);
  T* const scores = packed_state + packed_size<T>(d_k, d_v);
  T* const state = scores + ROWS * TILE;
  for (int64_t i = 0; i < d_k * d_v; i++) state[i] = job.state[head * d_k * d_v + i];
  int32_t segment = job.segment;

  for (int64_t done = 0; done < job.time;) {
    // A chunk never crosses from one segment to the next, so that nothing does, not even NaN.
    const int64_t first = job.reverse ? job.time - 1 - done : done;
    const int32_t here = job.segments ? job.segments[first] : segment;
    int64_t count = 1;
    while (count < TILE && done + count < job.time &&
           (!job.segments || job.segments[job.reverse ? first - count : first + count] == here))
      count++;
    if (here != segment)
      for (int64_t i = 0; i < d_k * d_v; i++) state[i] = 0;
    segment = here;
    done += count;

    const int64_t start = job.reverse ? first - count + 1 : first;
    const T* q = job.q + start * k_row + head * d_k;
    const T* k = job.k + start * k_row + head * d_k;
    const T* v = job.v + start * v_row + head * d_v;
    T* out = job.out + start * v_row + head * d_v;

    pack<T>(count, d_v, v, v_row, 1, values);
    if (!finite(1, count * (packed_size<T>(1, d_v)), values, 0)) {
      kv_tokens(job, head, start, count, state);
      continue;
    }
    pack<T>(d_k, count, k, 1, k_row, keys);
    pack<T>(d_k, d_v, state, d_v, 1, packed_state);
    product<T>(count, d_v, d_k, q, k_row, 1, packed_state, d_k, nullptr, 0, out, v_row);
    for (int64_t i = 0; i < count; i += ROWS) {
      const int64_t n = i + ROWS < count ? ROWS : count - i;
      const int64_t low = job.reverse ? i / PANEL<T> * PANEL<T> : 0, high = job.reverse ? count : i + n;
      product<T>(n, high - low, d_k, q + i * k_row, k_row, 1, keys + low * d_k, d_k, nullptr, 0, scores + low, TILE);
      for (int64_t row = 0; row < n; row++)
        for (int64_t j = job.reverse ? low : i + row + 1; j < (job.reverse ? i + row : high); j++) scores[row * TILE + j] = 0;
      product<T>(n, d_v, high - low, scores + low, TILE, 1, values + low * PANEL<T>, count, out + i * v_row, v_row,
                 out + i * v_row, v_row);
    }
    product<T>(d_k, d_v, count, k, 1, k_row, values, count, state, d_v, state, d_v);
  }
  for (int64_t i = 0; i < d_k * d_v; i++) job.last[head * d_k * d_v + i] = state[i];
}

}  // namespace twofold::TWOFOLD_ISA

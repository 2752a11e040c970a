// The LSTM: c_t = f c_{t-1} + g k and h_t = o tanh(c_t), gates (f, k, g, o) of inputs + V h_{t-1}.
#pragma once

#include "product.h"

namespace twofold::TWOFOLD_ISA {

template <class T>
INLINE Vector<T> sigmoid(Vector<T> x) {
  return tanh<T>(x * T(0.5)) * T(0.5) + T(0.5);
}

template <class T>
INLINE void copy(int64_t count, const T* from, T* to) {  // zeros if there is nothing to copy from
  for_each_vector<T>(count, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
    store(to + i, from ? load(from + i) : Vector<T>{});
  });
}

INLINE bool at(const Rows<bool>& resets, int64_t row, int64_t t) { return resets.data && resets.at(row)[t]; }

template <class T>
INLINE const T* at(const Rows<T>& rows, int64_t row, int64_t offset) {
  return rows.data ? rows.at(row) + offset : nullptr;
}

template <class T>
void lstm_forward(const Lstm<T>& job, int64_t from, int64_t to, T* scratch) {
  const int64_t n = job.hidden, rows = to - from;
  T *const h = scratch, *const c = h + rows * n;
  for (int64_t row = 0; row < rows; row++) {
    copy(n, job.h0.at(from + row), h + row * n);
    copy(n, job.c0.at(from + row), c + row * n);
  }
  for (int64_t t = 0; t < job.time; t++) {
    for (int64_t row = 0; row < rows; row++)
      if (at(job.resets, from + row, t)) {
        copy<T>(n, nullptr, h + row * n);
        copy<T>(n, nullptr, c + row * n);
      }
    product<T>(rows, 4 * n, n, h, n, 1, job.weights, n, job.inputs.at(from) + t * 4 * n, job.inputs.row,
               job.gates.at(from) + t * 4 * n, job.gates.row);
    for (int64_t row = 0; row < rows; row++) {
      T *gates = job.gates.at(from + row) + t * 4 * n, *h_row = h + row * n, *c_row = c + row * n;
      T *h_out = job.h.at(from + row) + t * n, *c_out = job.c_before.at(from + row) + t * n;
      for_each_vector<T>(n, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
        const Vector<T> f = sigmoid<T>(load(gates + i)), k = tanh<T>(load(gates + n + i));
        const Vector<T> g = sigmoid<T>(load(gates + 2 * n + i)), o = sigmoid<T>(load(gates + 3 * n + i));
        const Vector<T> before = load(c_row + i), now = f * before + g * k, out = o * tanh<T>(now);
        store(gates + i, f), store(gates + n + i, k), store(gates + 2 * n + i, g), store(gates + 3 * n + i, o);
        store(c_out + i, before), store(c_row + i, now), store(h_out + i, out), store(h_row + i, out);
      });
    }
  }
  for (int64_t row = 0; row < rows; row++) {
    copy(n, h + row * n, job.h_last.at(from + row));
    copy(n, c + row * n, job.c_last.at(from + row));
  }
}

template <class T>
void lstm_backward(const Lstm<T>& job, int64_t from, int64_t to, T* scratch) {
  const int64_t n = job.hidden, rows = to - from;
  T *const dh = scratch, *const dc = dh + rows * n;  // of this step's h and c
  for (int64_t row = 0; row < rows; row++) {
    copy(n, job.dh_last.at(from + row), dh + row * n);
    copy(n, job.dc_last.at(from + row), dc + row * n);
  }
  for (int64_t t = job.time - 1; t >= 0; t--) {
    for (int64_t row = 0; row < rows; row++) {
      const int64_t r = from + row;
      const bool fresh = at(job.resets, r, t);
      const T *gates = job.gates.at(r) + t * 4 * n, *c_before = job.c_before.at(r) + t * n, *dh_out = at(job.dh, r, t * n);
      const T *dc_out = at(job.dc_before, r, t * n), *dgates = at(job.dgates, r, t * 4 * n);
      T *dh_row = dh + row * n, *dc_row = dc + row * n, *d = job.d.at(r) + t * 4 * n;
      for_each_vector<T>(n, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
        const Vector<T> f = load(gates + i), k = load(gates + n + i), g = load(gates + 2 * n + i), o = load(gates + 3 * n + i);
        const Vector<T> before = load(c_before + i), tanh_c = tanh<T>(f * before + g * k);
        const Vector<T> dh_i = dh_out ? load(dh_row + i) + load(dh_out + i) : load(dh_row + i);
        const Vector<T> dc_i = load(dc_row + i) + dh_i * o * (1 - tanh_c * tanh_c);
        Vector<T> df = dc_i * before, dk = dc_i * g, dg = dc_i * k, d_o = dh_i * tanh_c;
        if (dgates) {
          df += load(dgates + i), dk += load(dgates + n + i);
          dg += load(dgates + 2 * n + i), d_o += load(dgates + 3 * n + i);
        }
        store(d + i, df * f * (1 - f)), store(d + n + i, dk * (1 - k * k));
        store(d + 2 * n + i, dg * g * (1 - g)), store(d + 3 * n + i, d_o * o * (1 - o));
        const Vector<T> earlier = dc_out ? dc_i * f + load(dc_out + i) : dc_i * f;
        store(dc_row + i, fresh ? Vector<T>{} : earlier);
      });
    }
    product<T>(rows, n, 4 * n, job.d.at(from) + t * 4 * n, job.d.row, 1, job.weights, 4 * n, nullptr, 0, dh, n);
    for (int64_t row = 0; row < rows; row++)
      if (at(job.resets, from + row, t)) copy<T>(n, nullptr, dh + row * n);
  }
  for (int64_t row = 0; row < rows; row++) {
    copy(n, dh + row * n, job.dh0.at(from + row));
    copy(n, dc + row * n, job.dc0.at(from + row));
  }
}

}  // namespace twofold::TWOFOLD_ISA

// The GRU: h_t = h_{t-1} + z (k - h_{t-1}), k = tanh(K + V_h (r h_{t-1})) or tanh(K + r (V_h h_{t-1} + b_n)).
#pragma once

#include "lstm.h"

namespace twofold::TWOFOLD_ISA {

template <class T>
void gru_forward(const Gru<T>& job, int64_t from, int64_t to, T* scratch) {
  const int64_t n = job.hidden, rows = to - from;
  T *const h = scratch, *const reset_h = h + rows * n;
  for (int64_t row = 0; row < rows; row++) copy(n, job.h0.at(from + row), h + row * n);
  for (int64_t t = 0; t < job.time; t++) {
    for (int64_t row = 0; row < rows; row++)
      if (at(job.resets, from + row, t)) copy<T>(n, nullptr, h + row * n);
    const T* inputs = job.inputs.at(from) + t * 3 * n;
    T* gates = job.gates.at(from) + t * 3 * n;  // of (r, k, z)
    const auto of_gate = [&](const T* h, const T* weights, int64_t gate) {
      product<T>(rows, n, n, h, n, 1, weights, n, inputs + gate * n, job.inputs.row, gates + gate * n, job.gates.row);
    };
    of_gate(h, job.weights_r, 0);
    of_gate(h, job.weights_z, 2);
    if (job.bias.data) {
      T* products = job.products.at(from) + t * n;
      product<T>(rows, n, n, h, n, 1, job.weights_h, n, job.bias.at(from), job.bias.row, products, job.products.row);
    } else {
      for (int64_t row = 0; row < rows; row++)
        for_each_vector<T>(n, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
          T* r = gates + row * job.gates.row;
          store(reset_h + row * n + i, sigmoid<T>(load(r + i)) * load(h + row * n + i));
        });
      of_gate(reset_h, job.weights_h, 1);
    }
    for (int64_t row = 0; row < rows; row++) {
      const T *x = inputs + row * job.inputs.row, *of_h = job.bias.data ? job.products.at(from + row) + t * n : nullptr;
      T *gate = gates + row * job.gates.row, *h_row = h + row * n, *h_out = job.h.at(from + row) + t * n;
      for_each_vector<T>(n, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
        const Vector<T> r = sigmoid<T>(load(gate + i)), z = sigmoid<T>(load(gate + 2 * n + i));
        const Vector<T> k = tanh<T>(of_h ? load(x + n + i) + r * load(of_h + i) : load(gate + n + i));
        const Vector<T> before = load(h_row + i), now = before + z * (k - before);
        store(gate + i, r), store(gate + n + i, k), store(gate + 2 * n + i, z);
        store(h_row + i, now), store(h_out + i, now);
      });
    }
  }
  for (int64_t row = 0; row < rows; row++) copy(n, h + row * n, job.h_last.at(from + row));
}

template <class T>
void gru_backward(const Gru<T>& job, int64_t from, int64_t to, T* scratch) {
  const int64_t n = job.hidden, rows = to - from;
  T *const dh = scratch, *const d_reset = dh + rows * n;  // of this step's h, and of r h_{t-1}
  for (int64_t row = 0; row < rows; row++) copy(n, job.dh_last.at(from + row), dh + row * n);
  const bool after = job.bias.data;
  for (int64_t t = job.time - 1; t >= 0; t--) {
    // h_{t-1}, found by each row: h0, what the step before left, or zero at a reset.
    const auto before = [&](int64_t row) -> const T* {
      if (at(job.resets, row, t)) return nullptr;
      return t == 0 ? job.h0.at(row) : job.h.at(row) + (t - 1) * n;
    };
    T* d = job.d.at(from) + t * 3 * n;  // of (r, k, z)
    for (int64_t row = 0; row < rows; row++) {
      const T *gates = job.gates.at(from + row) + t * 3 * n, *h = before(from + row), *dh_out = at(job.dh, from + row, t * n);
      const T *dgates = at(job.dgates, from + row, t * 3 * n), *dproducts = at(job.dproducts, from + row, t * n);
      const T* of_h = after ? job.products.at(from + row) + t * n : nullptr;
      T *dh_row = dh + row * n, *d_row = d + row * job.d.row;
      T* products = after ? job.d_products.at(from + row) + t * 3 * n : nullptr;
      for_each_vector<T>(n, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
        const Vector<T> r = load(gates + i), k = load(gates + n + i), z = load(gates + 2 * n + i);
        const Vector<T> h_i = h ? load(h + i) : Vector<T>{};
        const Vector<T> dh_i = dh_out ? load(dh_row + i) + load(dh_out + i) : load(dh_row + i);
        Vector<T> dr{}, dk = dh_i * z, dz = dh_i * (k - h_i);
        if (dgates) dr = load(dgates + i), dk += load(dgates + n + i), dz += load(dgates + 2 * n + i);
        dk = dk * (1 - k * k), dz = dz * z * (1 - z);
        store(d_row + n + i, dk), store(d_row + 2 * n + i, dz);
        store(dh_row + i, dh_i * (1 - z));
        if (!after) {
          store(d_row + i, dr);  // the rest of it comes below
          return;
        }
        dr = (dr + dk * load(of_h + i)) * r * (1 - r);
        store(d_row + i, dr);
        store(products + i, dr), store(products + 2 * n + i, dz);
        store(products + n + i, dproducts ? dk * r + load(dproducts + i) : dk * r);
      });
    }
    const T* from_gates = after ? job.d_products.at(from) + t * 3 * n : d;
    const int64_t gates_row = after ? job.d_products.row : job.d.row;
    const auto add_to = [&](T* sum, const T* add, int64_t gate, const T* weights) {
      product<T>(rows, n, n, from_gates + gate * n, gates_row, 1, weights, n, add, n, sum, n);
    };
    if (after) {
      add_to(dh, dh, 1, job.weights_h);
    } else {
      add_to(d_reset, nullptr, 1, job.weights_h);
      for (int64_t row = 0; row < rows; row++) {
        const T *gates = job.gates.at(from + row) + t * 3 * n, *h = before(from + row);
        T *dh_row = dh + row * n, *dr = d + row * job.d.row, *reset = d_reset + row * n;
        for_each_vector<T>(n, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
          const Vector<T> r = load(gates + i), h_i = h ? load(h + i) : Vector<T>{};
          store(dr + i, (load(dr + i) + load(reset + i) * h_i) * r * (1 - r));
          store(dh_row + i, load(dh_row + i) + load(reset + i) * r);
        });
      }
    }
    add_to(dh, dh, 0, job.weights_r);
    add_to(dh, dh, 2, job.weights_z);
    for (int64_t row = 0; row < rows; row++)
      if (at(job.resets, from + row, t)) copy<T>(n, nullptr, dh + row * n);
  }
  for (int64_t row = 0; row < rows; row++) copy(n, dh + row * n, job.dh0.at(from + row));
}

}  // namespace twofold::TWOFOLD_ISA

#include "handlers.h"

namespace twofold {
namespace {

// A batch of recurrences, whose arrays may each lack some of its axes (have size 1 there). Sequences along the last axis are the
// rows of one matrix product, if the weights lack that axis; each of the other axes is a loop over groups of them.
class Batch {
 public:
  Batch(ffi::Span<const int64_t> axes, const Array& weights) : axes_(axes.begin(), axes.end()) {
    rows = !axes_.empty() && batch_axes(weights, 2)[axes_.size() - 1] == 1 ? axes_.back() : 1;
    groups = 1;
    for (const int64_t n : axes_) groups *= n;
    groups = rows ? groups / rows : 0;
    looped_ = axes_.size() - (rows == 1 ? 0 : 1);
  }

  int64_t rows, groups;

  // The group's rows of an array with these axes before its `core` last ones; null where it has no numbers.
  template <class T>
  Rows<T> of(const Array& array, int64_t core, int64_t group) const {
    if (array.element_count() == 0) return {nullptr, 0};  // it may have fewer axes, too
    const auto dimensions = array.dimensions();
    int64_t numbers = 1;
    for (const int64_t n : dimensions.last(core)) numbers *= n;
    const bool has_rows = looped_ < axes_.size();
    int64_t offset = 0, stride = has_rows ? numbers * dimensions[looped_] : numbers;
    for (size_t i = looped_; i-- > 0; group /= axes_[i], stride *= dimensions[i])
      if (dimensions[i] > 1) offset += group % axes_[i] * stride;
    return {reinterpret_cast<T*>(array.untyped_data()) + offset, has_rows && dimensions[looped_] > 1 ? numbers : 0};
  }

  // f(group, from, to) for all rows of all groups, on several threads where their products, of this size, are worth it.
  template <class F>
  void run(ffi::ThreadPool& pool, int64_t products, const F& f) const {
    const int64_t threads = groups * rows * products < 8 * WORTH_THREADS ? 1 : pool.num_threads();
    const int64_t pieces = groups >= threads ? 1 : std::min(rows, threads), size = pieces ? (rows + pieces - 1) / pieces : 0;
    const auto piece = [&](int64_t i) {
      f(i / pieces, std::min(rows, i % pieces * size), std::min(rows, (i % pieces + 1) * size));
    };
    if (threads > 1) return parallel(pool, groups * pieces, piece);
    for (int64_t i = 0; i < groups * pieces; i++) piece(i);
  }

 private:
  std::vector<int64_t> axes_;
  size_t looped_;
};

template <class T>
std::vector<T> packed(int64_t rows, int64_t columns, const T* matrix, int64_t row, int64_t column) {
  const auto& kernel = kernels_of<T>().recurrent;
  std::vector<T> result(kernel.packed_size(rows, columns));
  kernel.pack(rows, columns, matrix, row, column, result.data());
  return result;
}

template <class T>
void lstm_forward_of(ffi::ThreadPool& pool, const Array& inputs, const Array& v, const Array& h0, const Array& c0,
                     const Array& resets, Result& h_last, Result& c_last, Result& h, Result& c_before, Result& gates) {
  const int64_t n = axis(v, 1), time = axis(inputs, 2);
  const Batch batch(batch_axes(*h, 2), v);
  batch.run(pool, time * n * n, [&](int64_t group, int64_t from, int64_t to) {
    const auto weights = packed<T>(n, 4 * n, batch.of<T>(v, 2, group).data, 1, n);
    Lstm<T> job{batch.rows, time, n, weights.data()};
    job.resets = batch.of<bool>(resets, 1, group);
    job.inputs = batch.of<T>(inputs, 2, group);
    job.h0 = batch.of<T>(h0, 1, group);
    job.c0 = batch.of<T>(c0, 1, group);
    job.h_last = batch.of<T>(*h_last, 1, group);
    job.c_last = batch.of<T>(*c_last, 1, group);
    job.h = batch.of<T>(*h, 2, group);
    job.c_before = batch.of<T>(*c_before, 2, group);
    job.gates = batch.of<T>(*gates, 2, group);
    std::vector<T> scratch(2 * n * (to - from));
    kernels_of<T>().recurrent.lstm(job, from, to, scratch.data());
  });
}

template <class T>
void lstm_backward_of(ffi::ThreadPool& pool, const Array& v, const Array& resets, const Array& c_before, const Array& gates,
                      const Array& dh_last, const Array& dc_last, const Array& dh, const Array& dc_before,
                      const Array& dgates, Result& d, Result& dh0, Result& dc0) {
  const int64_t n = axis(v, 1), time = axis(gates, 2);
  const Batch batch(batch_axes(*d, 2), v);
  batch.run(pool, time * n * n, [&](int64_t group, int64_t from, int64_t to) {
    const auto weights = packed<T>(4 * n, n, batch.of<T>(v, 2, group).data, n, 1);
    Lstm<T> job{batch.rows, time, n, weights.data()};
    job.resets = batch.of<bool>(resets, 1, group);
    job.c_before = batch.of<T>(c_before, 2, group);
    job.gates = batch.of<T>(gates, 2, group);
    job.dh_last = batch.of<T>(dh_last, 1, group);
    job.dc_last = batch.of<T>(dc_last, 1, group);
    job.dh = batch.of<T>(dh, 2, group);
    job.dc_before = batch.of<T>(dc_before, 2, group);
    job.dgates = batch.of<T>(dgates, 2, group);
    job.d = batch.of<T>(*d, 2, group);
    job.dh0 = batch.of<T>(*dh0, 1, group);
    job.dc0 = batch.of<T>(*dc0, 1, group);
    std::vector<T> scratch(2 * n * (to - from));
    kernels_of<T>().recurrent.lstm_backward(job, from, to, scratch.data());
  });
}

template <class T>
struct GruWeights {  // V's rows of r, h~ and z, packed each: transposed for the forward pass
  std::vector<T> r, h, z;
  GruWeights(const T* v, int64_t n, bool transposed)
      : r(gate(v, n, transposed)), h(gate(v + n * n, n, transposed)), z(gate(v + 2 * n * n, n, transposed)) {}
  static std::vector<T> gate(const T* rows, int64_t n, bool transposed) {
    return packed<T>(n, n, rows, transposed ? 1 : n, transposed ? n : 1);
  }
};

template <class T>
void gru_forward_of(ffi::ThreadPool& pool, const Array& inputs, const Array& v, const Array& h0, const Array& b_n,
                    const Array& resets, Result& h_last, Result& h, Result& gates, Result& products) {
  const int64_t n = axis(v, 1), time = axis(inputs, 2);
  const Batch batch(batch_axes(*h, 2), v);
  batch.run(pool, time * n * n, [&](int64_t group, int64_t from, int64_t to) {
    const GruWeights<T> weights(batch.of<T>(v, 2, group).data, n, true);
    Gru<T> job{batch.rows, time, n, weights.r.data(), weights.h.data(), weights.z.data()};
    job.bias = batch.of<T>(b_n, 1, group);
    job.resets = batch.of<bool>(resets, 1, group);
    job.inputs = batch.of<T>(inputs, 2, group);
    job.h0 = batch.of<T>(h0, 1, group);
    job.h_last = batch.of<T>(*h_last, 1, group);
    job.h = batch.of<T>(*h, 2, group);
    job.gates = batch.of<T>(*gates, 2, group);
    job.products = batch.of<T>(*products, 2, group);
    std::vector<T> scratch(2 * n * (to - from));
    kernels_of<T>().recurrent.gru(job, from, to, scratch.data());
  });
}

template <class T>
void gru_backward_of(ffi::ThreadPool& pool, const Array& v, const Array& h0, const Array& b_n, const Array& resets,
                     const Array& h, const Array& gates, const Array& products, const Array& dh_last, const Array& dh,
                     const Array& dgates, const Array& dproducts, Result& d, Result& d_products, Result& dh0) {
  const int64_t n = axis(v, 1), time = axis(gates, 2);
  const Batch batch(batch_axes(*d, 2), v);
  batch.run(pool, time * n * n, [&](int64_t group, int64_t from, int64_t to) {
    const GruWeights<T> weights(batch.of<T>(v, 2, group).data, n, false);
    Gru<T> job{batch.rows, time, n, weights.r.data(), weights.h.data(), weights.z.data()};
    job.bias = batch.of<T>(b_n, 1, group);
    job.resets = batch.of<bool>(resets, 1, group);
    job.h0 = batch.of<T>(h0, 1, group);
    job.h = batch.of<T>(h, 2, group);
    job.gates = batch.of<T>(gates, 2, group);
    job.products = batch.of<T>(products, 2, group);
    job.dh_last = batch.of<T>(dh_last, 1, group);
    job.dh = batch.of<T>(dh, 2, group);
    job.dgates = batch.of<T>(dgates, 2, group);
    job.dproducts = batch.of<T>(dproducts, 2, group);
    job.d = batch.of<T>(*d, 2, group);
    job.d_products = batch.of<T>(*d_products, 2, group);
    job.dh0 = batch.of<T>(*dh0, 1, group);
    std::vector<T> scratch(2 * n * (to - from));
    kernels_of<T>().recurrent.gru_backward(job, from, to, scratch.data());
  });
}

ffi::Error lstm_forward_handler(ffi::ThreadPool pool, Array inputs, Array v, Array h0, Array c0, Array resets,
                                Result h_last, Result c_last, Result h, Result c_before, Result gates) {
  return for_type_of(v, [&](auto number) {
    lstm_forward_of<decltype(number)>(pool, inputs, v, h0, c0, resets, h_last, c_last, h, c_before, gates);
  });
}

ffi::Error lstm_backward_handler(ffi::ThreadPool pool, Array v, Array resets, Array c_before, Array gates, Array dh_last,
                                 Array dc_last, Array dh, Array dc_before, Array dgates, Result d, Result dh0,
                                 Result dc0) {
  return for_type_of(v, [&](auto number) {
    lstm_backward_of<decltype(number)>(pool, v, resets, c_before, gates, dh_last, dc_last, dh, dc_before, dgates, d, dh0,
                                       dc0);
  });
}

ffi::Error gru_forward_handler(ffi::ThreadPool pool, Array inputs, Array v, Array h0, Array b_n, Array resets,
                               Result h_last, Result h, Result gates, Result products) {
  return for_type_of(v, [&](auto number) {
    gru_forward_of<decltype(number)>(pool, inputs, v, h0, b_n, resets, h_last, h, gates, products);
  });
}

ffi::Error gru_backward_handler(ffi::ThreadPool pool, Array v, Array h0, Array b_n, Array resets, Array h, Array gates,
                                Array products, Array dh_last, Array dh, Array dgates, Array dproducts, Result d,
                                Result d_products, Result dh0) {
  return for_type_of(v, [&](auto number) {
    gru_backward_of<decltype(number)>(pool, v, h0, b_n, resets, h, gates, products, dh_last, dh, dgates, dproducts, d,
                                      d_products, dh0);
  });
}

}  // namespace

// The axes of a batch come first in every array, with size 1 where an array is common to all. Arrays that are absent are empty:
// resets, b_n (the reset then comes before the product) with all that belongs to it, cotangents of second order.

TWOFOLD_HANDLER(lstm_forward, lstm_forward_handler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()   // inputs, (time, 4 hidden)
                                  .Arg<Array>()   // v, (4 hidden, hidden)
                                  .Arg<Array>()   // h, (hidden,)
                                  .Arg<Array>()   // c, (hidden,)
                                  .Arg<Array>()   // resets, (time,)
                                  .Ret<Array>()   // the last h
                                  .Ret<Array>()   // the last c
                                  .Ret<Array>()   // h, (time, hidden)
                                  .Ret<Array>()   // c before each step, (time, hidden)
                                  .Ret<Array>());  // gates, (time, 4 hidden)

TWOFOLD_HANDLER(lstm_backward, lstm_backward_handler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()   // v
                                  .Arg<Array>()   // resets
                                  .Arg<Array>()   // c before each step
                                  .Arg<Array>()   // gates
                                  .Arg<Array>()   // cotangents of the results, in their order
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()   // that of the inputs
                                  .Ret<Array>()   // of h
                                  .Ret<Array>());  // of c

TWOFOLD_HANDLER(gru_forward, gru_forward_handler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()   // inputs, (time, 3 hidden)
                                  .Arg<Array>()   // v, (3 hidden, hidden)
                                  .Arg<Array>()   // h, (hidden,)
                                  .Arg<Array>()   // b_n, (hidden,)
                                  .Arg<Array>()   // resets, (time,)
                                  .Ret<Array>()   // the last h
                                  .Ret<Array>()   // h, (time, hidden)
                                  .Ret<Array>()   // gates, (time, 3 hidden)
                                  .Ret<Array>());  // V_h h + b_n, (time, hidden)

TWOFOLD_HANDLER(gru_backward, gru_backward_handler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()   // v
                                  .Arg<Array>()   // the h before the first step
                                  .Arg<Array>()   // b_n
                                  .Arg<Array>()   // resets
                                  .Arg<Array>()   // h
                                  .Arg<Array>()   // gates
                                  .Arg<Array>()   // V_h h + b_n
                                  .Arg<Array>()   // cotangents of the results, in their order
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()   // that of the inputs
                                  .Ret<Array>()   // of the products V h
                                  .Ret<Array>());  // of h

}  // namespace twofold

// The linear recurrence h_t = a_t * h_{t-1} + b_t, and its gradient.
#pragma once

#include "kernels.h"
#include "vector.h"

namespace twofold::TWOFOLD_ISA {

// Arithmetic on vectors of real numbers, or of complex ones: pairs of real and imaginary part.
template <class T, bool complex>
struct Numbers;

template <class T>
struct Numbers<T, false> {
  static constexpr int64_t parts = 1;
  static INLINE Vector<T> broadcast(const T* x) { return TWOFOLD_ISA::broadcast(*x); }
  static INLINE Vector<T> multiply(Vector<T> x, Vector<T> y) { return x * y; }
  static INLINE void sum(Vector<T> v, T* total) { *total += TWOFOLD_ISA::sum<T>(v); }
};

template <class T>
struct Numbers<T, true> {
  static constexpr int64_t parts = 2;
  static INLINE Vector<T> broadcast(const T* x) {
    Vector<T> v;
    for (int64_t i = 0; i < LANES<T>; i++) v[i] = x[i % 2];
    return v;
  }
  static INLINE Vector<T> multiply(Vector<T> x, Vector<T> y) {
#ifdef __AVX512F__
    if constexpr (sizeof(T) == 4) {
      const __m512 re = _mm512_moveldup_ps((__m512)x), im = _mm512_movehdup_ps((__m512)x);
      return (Vector<T>)_mm512_fmaddsub_ps(re, (__m512)y, _mm512_mul_ps(im, _mm512_permute_ps((__m512)y, 0xB1)));
    } else {
      const __m512d re = _mm512_movedup_pd((__m512d)x), im = _mm512_permute_pd((__m512d)x, 0xFF);
      return (Vector<T>)_mm512_fmaddsub_pd(re, (__m512d)y, _mm512_mul_pd(im, _mm512_permute_pd((__m512d)y, 0x55)));
    }
#else
    Vector<T> z;
    for (int64_t i = 0; i < LANES<T>; i += 2) {
      z[i] = x[i] * y[i] - x[i + 1] * y[i + 1];
      z[i + 1] = x[i] * y[i + 1] + x[i + 1] * y[i];
    }
    return z;
#endif
  }
  static INLINE void sum(Vector<T> v, T* total) {
    for (int64_t i = 0; i < LANES<T>; i++) total[i % 2] += v[i];
  }
};

// Calls f(i, load_a, load, store) for every vector of a row, (heads, dim): i is the index of its first number, and load_a()
// gives its decays, of which each head has one. Where dim is 1, a and the row have the same layout.
template <class N, bool down, class T, class F>
INLINE void for_each_decayed(const Linear<T>& job, const T* a, F&& f) {
  if (job.dim == 1) {
    for_each_vector<T, down>(job.heads * N::parts, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
      f(i, [&]() INLINE_LAMBDA { return load(a + i); }, load, store);
    });
    return;
  }
  const int64_t width = job.dim * N::parts;
  for (int64_t each = 0; each < job.heads; each++) {
    const int64_t head = down ? job.heads - 1 - each : each;
    const Vector<T> decay = N::broadcast(a + head * N::parts);
    for_each_vector<T, down>(width, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
      f(head * width + i, [&]() INLINE_LAMBDA { return decay; }, load, store);
    });
  }
}

template <class T, bool complex, bool down>
INLINE void forward(const Linear<T>& job, int64_t from, int64_t to, T* state, T* decay) {
  using N = Numbers<T, complex>;
  const int64_t width = job.heads * job.dim * N::parts;
  const auto put = [&](T* p, Vector<T> v, auto store) INLINE_LAMBDA { job.streams ? stream(p, v) : store(p, v); };
  for (int64_t step = from; step < to; step++) {
    const int64_t t = down ? job.time - 1 - step : step;
    const T *a = job.a + (job.constant ? 0 : t * job.heads * N::parts), *b = job.b + t * width;
    T* h = job.h + t * width;
    if (job.resets && job.resets[t]) {
      for_each_vector<T, down>(width, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
        store(state + i, load(b + i));
        if (decay) store(decay + i, Vector<T>{});
        else put(h + i, load(b + i), store);
      });
    } else if (decay) {
      for_each_decayed<N, down>(job, a, [&](int64_t i, auto load_a, auto load, auto store) INLINE_LAMBDA {
        store(state + i, load(b + i) + N::multiply(load_a(), load(state + i)));
        store(decay + i, N::multiply(load_a(), load(decay + i)));
      });
    } else {
      for_each_decayed<N, down>(job, a, [&](int64_t i, auto load_a, auto load, auto store) INLINE_LAMBDA {
        const Vector<T> now = load(b + i) + N::multiply(load_a(), load(state + i));
        store(state + i, now);
        put(h + i, now, store);
      });
    }
  }
  finish_streams();
}

template <class T, bool complex, bool down>
INLINE void backward(const Linear<T>& job, int64_t from, int64_t to, T* state, T* decay, T* sum) {
  using N = Numbers<T, complex>;
  const int64_t width = job.heads * job.dim * N::parts;
  const auto put = [&](T* p, Vector<T> v, auto store) INLINE_LAMBDA { job.streams ? stream(p, v) : store(p, v); };
  for (int64_t step = from; step < to; step++) {
    const int64_t back = job.time - 1 - step;  // the step of the recurrence, whose gradient runs the other way: `down` or up
    const int64_t t = down ? back : job.time - 1 - back, before = down ? t - 1 : t + 1;
    const bool fresh = job.resets && job.resets[t];
    const T *a = job.a + (job.constant ? 0 : t * job.heads * N::parts), *g = job.b + t * width;
    if (decay) {
      for_each_decayed<N, down>(job, a, [&](int64_t i, auto load_a, auto load, auto store) INLINE_LAMBDA {
        const Vector<T> r = load(g + i) + load(state + i);
        store(state + i, fresh ? Vector<T>{} : N::multiply(load_a(), r));
        store(decay + i, fresh ? Vector<T>{} : N::multiply(load_a(), load(decay + i)));
      });
      continue;
    }
    const T* h = back == 0 ? job.h0 : job.states + before * width;
    T *db = job.db + t * width, *da = job.constant ? sum : job.da + t * job.heads * N::parts;
    if (fresh) {
      for_each_vector<T, down>(width, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
        put(db + i, load(g + i) + load(state + i), store);
        store(state + i, Vector<T>{});
      });
      if (!job.constant)
        for (int64_t i = 0; i < job.heads * N::parts; i++) da[i] = 0;
    } else if (job.dim == 1) {
      for_each_decayed<N, down>(job, a, [&](int64_t i, auto load_a, auto load, auto store) INLINE_LAMBDA {
        const Vector<T> r = load(g + i) + load(state + i), product = N::multiply(r, load(h + i));
        put(db + i, r, store);
        store(da + i, job.constant ? load(da + i) + product : product);
        store(state + i, N::multiply(load_a(), r));
      });
    } else {
      const int64_t row = job.dim * N::parts;
      for (int64_t each = 0; each < job.heads; each++) {
        const int64_t head = down ? job.heads - 1 - each : each;
        const Vector<T> a_head = N::broadcast(a + head * N::parts);
        Vector<T> total{};
        for_each_vector<T, down>(row, [&](int64_t j, auto load, auto store) INLINE_LAMBDA {
          const int64_t i = head * row + j;
          const Vector<T> r = load(g + i) + load(state + i);
          total += N::multiply(r, load(h + i));
          put(db + i, r, store);
          store(state + i, N::multiply(a_head, r));
        });
        T* da_head = da + head * N::parts;
        if (!job.constant)
          for (int64_t part = 0; part < N::parts; part++) da_head[part] = 0;
        N::sum(total, da_head);
      }
    }
  }
  finish_streams();
}

template <class T, bool complex>
void linear_forward(const Linear<T>& job, int64_t from, int64_t to, T* state, T* decay) {
  job.reverse ? forward<T, complex, true>(job, from, to, state, decay) : forward<T, complex, false>(job, from, to, state, decay);
}

template <class T, bool complex>
void linear_backward(const Linear<T>& job, int64_t from, int64_t to, T* state, T* decay, T* sum) {
  job.reverse ? backward<T, complex, false>(job, from, to, state, decay, sum)
              : backward<T, complex, true>(job, from, to, state, decay, sum);
}

}  // namespace twofold::TWOFOLD_ISA

// Prefix softmax attention as the gated recurrence o_t = o_{t-1} + alpha_t (v_t - o_{t-1}), and its gradient.
#pragma once

#include "kernels.h"
#include "vector.h"

namespace twofold::TWOFOLD_ISA {

template <class T>
void softmax_weigh(const Softmax<T>& job, int64_t from, int64_t to, T* maximum, double* normaliser) {
  // Tile by tile: differences of scores and maxima of all tokens, then the exponentials of all of them, then their sums.
  const int64_t heads = job.heads;
  for (int64_t start = from; start < to; start += TILE) {
    const int64_t end = start + TILE < to ? start + TILE : to, count = (end - start) * heads;
    T *kept = job.kept + start * heads, *alpha = job.alpha + start * heads;
    const auto fresh = [&](int64_t t) INLINE_LAMBDA { return job.resets && job.resets[t]; };
    for_each_vector<T>(heads, [&](int64_t head, auto load, auto store) INLINE_LAMBDA {
      Vector<T> now = load(maximum + head);
      for (int64_t t = start; t < end; t++) {
        const Vector<T> before = fresh(t) ? broadcast(T(EMPTY)) : now, score = load(job.scores + t * heads + head);
        now = before != before || score <= before ? before : score;  // NaN if one is
        store(job.kept + t * heads + head, before - now);
        store(job.alpha + t * heads + head, score - now);
      }
      store(maximum + head, now);
    });
    for_each_vector<T>(count, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
      store(kept + i, exp_of_negative<T>(load(kept + i)));
      store(alpha + i, exp_of_negative<T>(load(alpha + i)));
    });
    for (int64_t head = 0; head < heads; head += 8) {
      const int64_t n = heads - head < 8 ? heads - head : 8;
      Vector<double> total = load_in_double(normaliser + head, n);  // a sum in single precision drifts over long sequences
      for (int64_t t = start; t < end; t++) {
        T *kept_t = job.kept + t * heads + head, *alpha_t = job.alpha + t * heads + head;
        const Vector<double> weight = load_in_double(alpha_t, n);
        const Vector<double> earlier = fresh(t) ? Vector<double>{} : total * load_in_double(kept_t, n);
        total = earlier + weight;
        const Vector<double> share = total == 0 ? Vector<double>{} : 1 / total;  // all masked so far: no share for anyone
        store_from_double(alpha_t, weight * share, n);
        store_from_double(kept_t, earlier * share, n);
      }
      store_from_double(normaliser + head, total, n);
    }
  }
}

template <class T>
void softmax_effect(const Softmax<T>& job, int64_t from, int64_t to, T* effect, double* decay) {
  const int64_t heads = job.heads, dim = job.dim;
  for (int64_t t = from; t < to; t++) {
    const bool fresh = job.resets && job.resets[t];
    for (int64_t head = 0; head < heads; head++) {
      const T alpha = job.alpha[t * heads + head];
      const T* v = job.values + (t * heads + head) * dim;
      T* o = effect + head * dim;
      if (fresh)
        for (int64_t i = 0; i < dim; i++) o[i] = 0;
      // Of alpha rather than of kept, which has lost a small alpha's digits: equal values must stay equal.
      decay[head] = fresh ? 0 : decay[head] * (1 - double(alpha));
      if (alpha != 0)
        for_each_vector<T>(dim, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
          store(o + i, load(o + i) + alpha * (load(v + i) - load(o + i)));
        });
    }
  }
}

template <class T>
void softmax_forward(const Softmax<T>& job, int64_t from, int64_t to, T* state, T* rest) {
  // From this share on, a token moves the average by more than rounding, and what came before is forgotten soon.
  constexpr T LARGE = T(1) / 64;
  const int64_t heads = job.heads, dim = job.dim;
  const auto put = [&](T* p, Vector<T> v, auto store) INLINE_LAMBDA { job.streams ? stream(p, v) : store(p, v); };
  for (int64_t t = from; t < to; t++) {
    const bool fresh = job.resets && job.resets[t];
    for (int64_t head = 0; head < heads; head++) {
      const int64_t row = (t * heads + head) * dim;
      const T alpha = job.alpha[t * heads + head];
      T *o = state + head * dim, *r = rest + head * dim;
      if (fresh)
        for (int64_t i = 0; i < dim; i++) o[i] = r[i] = 0;
      const T* v = job.values + row;
      T* out = job.out + row;
      // A token without a share is left out rather than multiplied by zero: padding may hold anything, even NaN.
      if (alpha == 0)
        for_each_vector<T>(dim, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
          put(out + i, load(o + i) + load(r + i), store);
        });
      else if (alpha < LARGE)  // the rest alone moves, and is added to the state at the end
        for_each_vector<T>(dim, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
          const Vector<T> before = load(r + i), now = before + alpha * (load(v + i) - load(o + i) - before);
          store(r + i, now);
          put(out + i, load(o + i) + now, store);
        });
      else
        for_each_vector<T>(dim, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
          const Vector<T> before = load(o + i) + load(r + i), now = before + alpha * (load(v + i) - before);
          store(o + i, now);
          store(r + i, Vector<T>{});
          put(out + i, now, store);
        });
    }
  }
  for_each_vector<T>(heads * dim, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
    const Vector<T> o = load(state + i), r = load(rest + i), sum = o + r, taken = sum - o;
    store(state + i, sum);
    store(rest + i, sum - sum == 0 ? (o - (sum - taken)) + (r - taken) : Vector<T>{});  // an infinity leaves nothing out
  });
  finish_streams();
}

template <class T>
void softmax_backward(const Softmax<T>& job, int64_t from, int64_t to, T* state, double* inner, T* decay) {
  const int64_t heads = job.heads, dim = job.dim;
  const auto put = [&](T* p, Vector<T> v, auto store) INLINE_LAMBDA { job.streams ? stream(p, v) : store(p, v); };
  for (int64_t back = from; back < to; back++) {
    const int64_t t = job.time - 1 - back;
    const bool fresh = job.resets && job.resets[t];
    for (int64_t head = heads - 1; head >= 0; head--) {
      const int64_t token = t * heads + head, row = token * dim;
      const T alpha = job.alpha[token], kept = job.kept[token];
      const T *g = job.g + row, *out = job.out + row, *v = job.values + row;
      T* r = state + head * dim;
      Vector<T> g_out{}, r_v{};
      if (decay) {
        for_each_vector<T, true>(dim, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
          g_out += load(g + i) * load(out + i);
          const Vector<T> now = load(r + i) + load(g + i);
          store(r + i, fresh ? Vector<T>{} : kept * now);
        });
        inner[head] = fresh ? 0 : kept * (inner[head] + double(sum<T>(g_out)));
        decay[head] = fresh ? 0 : decay[head] * kept;
        continue;
      }
      T* dv = job.dvalues + row;
      for_each_vector<T, true>(dim, [&](int64_t i, auto load, auto store) INLINE_LAMBDA {
        const Vector<T> g_i = load(g + i), now = load(r + i) + g_i;
        g_out += g_i * load(out + i);
        r_v += now * load(v + i);
        put(dv + i, alpha * now, store);
        store(r + i, fresh ? Vector<T>{} : kept * now);
      });
      const double small = inner[head] + double(sum<T>(g_out));
      T dscore = alpha == 0 ? T(0) : T(alpha * (double(sum<T>(r_v)) - small));
      if (job.reference[head] != 0 && t >= job.last_reset && job.scores[token] == job.maximum[head])
        dscore += job.reference[head];
      job.dscores[token] = dscore;
      inner[head] = fresh ? 0 : kept * small;
    }
  }
  finish_streams();
}

}  // namespace twofold::TWOFOLD_ISA

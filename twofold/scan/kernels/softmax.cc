#include "handlers.h"

namespace twofold {
namespace {

template <class T>
struct Shape {
  int64_t time, heads, dim, batch;
  explicit Shape(const Array& values)
      : time(axis(values, 3)), heads(axis(values, 2)), dim(axis(values, 1)), batch(batch_size(values, 3)) {}
  int64_t tokens() const { return time * heads; }
  int64_t row() const { return heads * dim; }
  int64_t tiles() const { return (time + TILE - 1) / TILE; }
  int64_t end(int64_t tile) const { return std::min((tile + 1) * TILE, time); }
  int64_t numbers() const { return batch * tokens() * dim; }
};

// The state after a tile: heads' decays multiply what was there before, which is finite.
template <class T, class Decay, class State>
void pass_on(const Shape<T>& shape, const Decay* decay, const T* effect, const State* state, State* next) {
  for (int64_t head = 0; head < shape.heads; head++)
    for (int64_t i = head * shape.dim; i < (head + 1) * shape.dim; i++)
      next[i] = effect[i] + decay[head] * state[i];
}

// A number in double precision as one of T, and what that leaves out. An infinity leaves nothing out.
template <class T>
void split(double x, T& number, T& rest) {
  number = T(x);
  rest = std::isfinite(number) ? T(x - number) : T(0);
}

// The i-th sequence: what both passes take.
template <class T>
Softmax<T> job_of(const Shape<T>& shape, int64_t i, const Array& scores, const Array& values, const Array& resets,
                  const Array& alpha, const Array& kept, const Array& out, bool streams) {
  Softmax<T> job{shape.time, shape.heads, shape.dim, streams};
  job.scores = data<T>(scores) + i * shape.tokens();
  job.values = data<T>(values) + i * shape.time * shape.row();
  job.resets = resets_of(resets, i);
  job.alpha = data<T>(alpha) + i * shape.tokens();
  job.kept = data<T>(kept) + i * shape.tokens();
  job.out = data<T>(out) + i * shape.time * shape.row();
  return job;
}

template <class T>
void forward(ffi::ThreadPool& pool, const Array& scores, const Array& values, const Array& maximum0,
             const Array& normaliser0, const Array& output0, const Array& normaliser_rest0, const Array& output_rest0,
             const Array& resets, Result& out, Result& maximum, Result& normaliser, Result& output,
             Result& normaliser_rest, Result& output_rest, Result& alpha, Result& kept) {
  const Shape<T> shape(values);
  const auto& kernel = kernels_of<T>().softmax;
  const bool divided = divides_time(pool, shape.batch, shape.time, shape.numbers());
  const auto sequence = [&](int64_t i) {
    const auto job = job_of<T>(shape, i, scores, values, resets, *alpha, *kept, *out, streams<T>(out, shape.dim));

    const int64_t heads = i * shape.heads, rows = i * shape.row(), row = shape.row();
    T *m = data<T>(maximum) + heads, *o = data<T>(output) + rows, *rest = data<T>(output_rest) + rows;
    std::copy_n(data<T>(maximum0) + heads, shape.heads, m);
    std::copy_n(data<T>(output0) + rows, row, o);
    std::copy_n(data<T>(output_rest0) + rows, row, rest);
    std::vector<double> c(data<T>(normaliser0) + heads, data<T>(normaliser0) + heads + shape.heads);
    for (int64_t head = 0; head < shape.heads; head++) c[head] += data<T>(normaliser_rest0)[heads + head];
    if (divided) {
      kernel.weigh(job, 0, shape.time, m, c.data());
      std::vector<T> effects(shape.tiles() * row);
      std::vector<double> states((shape.tiles() + 1) * row), decays(shape.tiles() * shape.heads, 1);
      for (int64_t j = 0; j < row; j++) states[j] = double(o[j]) + rest[j];
      // A tile that leaves outputs, from the state before it to the one after.
      const auto run = [&](int64_t tile, double* after) {
        std::vector<T> now(row), rest_now(row);
        for (int64_t j = 0; j < row; j++) split(states[tile * row + j], now[j], rest_now[j]);
        kernel.forward(job, tile * TILE, shape.end(tile), now.data(), rest_now.data());
        for (int64_t j = 0; after && j < row; j++) after[j] = double(now[j]) + rest_now[j];
      };
      chain(
          pool, shape.tiles(),
          [&](int64_t tile) {
            kernel.effect(job, tile * TILE, shape.end(tile), &effects[tile * row], &decays[tile * shape.heads]);
          },
          [&](int64_t tile) {
            const double *before = &states[tile * row], *decay = &decays[tile * shape.heads];
            double* after = &states[(tile + 1) * row];
            if (all_finite(before, row) && all_finite(decay, shape.heads))
              return pass_on(shape, decay, &effects[tile * row], before, after);
            run(tile, after);
          },
          [&](int64_t tile) { run(tile, nullptr); });
      for (int64_t j = 0; j < row; j++) split(states[shape.tiles() * row + j], o[j], rest[j]);
    } else {
      for (int64_t tile = 0; tile < shape.tiles(); tile++) {
        kernel.weigh(job, tile * TILE, shape.end(tile), m, c.data());
        kernel.forward(job, tile * TILE, shape.end(tile), o, rest);
      }
    }
    for (int64_t head = heads; head < heads + shape.heads; head++)
      split(c[head - heads], data<T>(normaliser)[head], data<T>(normaliser_rest)[head]);
  };
  over_batch(pool, shape.batch, divided ? 0 : shape.numbers(), sequence);  // divided: one after the other
}

template <class T>
void backward(ffi::ThreadPool& pool, const Array& scores, const Array& values, const Array& maximum0,
              const Array& normaliser0, const Array& output0, const Array& resets, const Array& out, const Array& maximum,
              const Array& normaliser, const Array& output, const Array& alpha, const Array& kept, const Array& g,
              const Array& g_maximum, const Array& g_normaliser, const Array& g_output, Result& dscores, Result& dvalues,
              Result& dmaximum, Result& dnormaliser, Result& doutput) {
  const Shape<T> shape(values);
  const int64_t heads = shape.heads, dim = shape.dim;
  const auto& kernel = kernels_of<T>().softmax;
  const bool divided = divides_time(pool, shape.batch, shape.time, shape.numbers());
  const auto sequence = [&](int64_t i) {
    const T *m0 = data<T>(maximum0) + i * heads, *c0 = data<T>(normaliser0) + i * heads;
    const T *o0 = data<T>(output0) + i * shape.row(), *o = data<T>(output) + i * shape.row();
    const T *m = data<T>(maximum) + i * heads, *c = data<T>(normaliser) + i * heads;
    const T *gm = data<T>(g_maximum) + i * heads, *gc = data<T>(g_normaliser) + i * heads;
    const T* go = data<T>(g_output) + i * shape.row();
    T *dm0 = data<T>(dmaximum) + i * heads, *dc0 = data<T>(dnormaliser) + i * heads;
    T* state = data<T>(doutput) + i * shape.row();

    auto job = job_of<T>(shape, i, scores, values, resets, alpha, kept, out, streams<T>(dvalues, dim));
    job.g = data<T>(g) + i * shape.time * shape.row();
    job.dscores = data<T>(dscores) + i * shape.tokens();
    job.dvalues = data<T>(dvalues) + i * shape.time * shape.row();
    job.maximum = m;
    int64_t last_reset = shape.time - 1;
    if (job.resets)
      while (last_reset >= 0 && !job.resets[last_reset]) last_reset--;
    else
      last_reset = -1;
    job.last_reset = last_reset;

    // The state's own cotangents enter at the last token: (m, c) only matter through logsumexp = m + log(c), except for
    // the choice of the reference m itself, which is the score of the largest token, or of all that are.
    std::vector<double> inner(heads);
    std::vector<T> reference(heads);
    for (int64_t head = 0; head < heads; head++) {
      const T d_logsum = gc[head] * c[head];
      inner[head] = -double(d_logsum);
      for (int64_t j = head * dim; j < (head + 1) * dim; j++) {
        inner[head] += double(go[j]) * o[j];
        state[j] = go[j];
      }
      reference[head] = gm[head] - d_logsum;
      if (reference[head] == 0) continue;
      int64_t winners = last_reset < 0 && m0[head] == m[head];
      for (int64_t t = std::max<int64_t>(last_reset, 0); t < shape.time; t++)
        winners += job.scores[t * heads + head] == m[head];
      reference[head] /= T(std::max<int64_t>(winners, 1));
    }
    job.reference = reference.data();

    if (divided) {
      const int64_t tiles = shape.tiles(), row = shape.row();
      std::vector<T> states((tiles + 1) * row), effects(tiles * row), decays(tiles * heads, T(1));
      std::vector<double> inners((tiles + 1) * heads), inner_effects(tiles * heads);
      std::copy_n(state, row, states.data());
      std::copy_n(inner.data(), heads, inners.data());
      chain(
          pool, tiles,
          [&](int64_t tile) {
            kernel.backward(job, tile * TILE, shape.end(tile), &effects[tile * row], &inner_effects[tile * heads],
                            &decays[tile * heads]);
          },
          [&](int64_t tile) {
            const T *decay = &decays[tile * heads], *before = &states[tile * row];
            const double *inner_before = &inners[tile * heads], *inner_effect = &inner_effects[tile * heads];
            T* after = &states[(tile + 1) * row];
            double* inner_after = &inners[(tile + 1) * heads];
            if (all_finite(before, row) && all_finite(inner_before, heads) && all_finite(decay, heads)) {
              pass_on(shape, decay, &effects[tile * row], before, after);
              for (int64_t head = 0; head < heads; head++)
                inner_after[head] = inner_effect[head] + decay[head] * inner_before[head];
              return;
            }
            std::copy_n(before, row, after);
            std::copy_n(inner_before, heads, inner_after);
            kernel.backward(job, tile * TILE, shape.end(tile), after, inner_after, nullptr);
          },
          [&](int64_t tile) {
            std::vector<double> inner_now(&inners[tile * heads], &inners[tile * heads] + heads);
            kernel.backward(job, tile * TILE, shape.end(tile), &states[tile * row], inner_now.data(), nullptr);
          });
      std::copy_n(&states[tiles * row], row, state);
      std::copy_n(&inners[tiles * heads], heads, inner.data());
    } else {
      kernel.backward(job, 0, shape.time, state, inner.data(), nullptr);
    }

    const bool forgotten = job.resets && shape.time && job.resets[0];
    for (int64_t head = 0; head < heads; head++) {
      double d_logsum = -inner[head];
      for (int64_t j = head * dim; j < (head + 1) * dim; j++) {
        d_logsum += double(state[j]) * o0[j];
        if (forgotten) state[j] = 0;
      }
      const T own = last_reset < 0 && m0[head] == m[head] ? reference[head] : T(0);
      dm0[head] = forgotten ? T(0) : T(own + d_logsum);
      dc0[head] = forgotten || c0[head] == 0 ? T(0) : T(d_logsum / c0[head]);
    }
  };
  over_batch(pool, shape.batch, divided ? 0 : shape.numbers(), sequence);  // divided: one after the other
}

ffi::Error forward_handler(ffi::ThreadPool pool, Array scores, Array values, Array maximum0, Array normaliser0,
                           Array output0, Array normaliser_rest0, Array output_rest0, Array resets, Result out,
                           Result maximum, Result normaliser, Result output, Result normaliser_rest, Result output_rest,
                           Result alpha, Result kept) {
  return for_type_of(values, [&](auto number) {
    forward<decltype(number)>(pool, scores, values, maximum0, normaliser0, output0, normaliser_rest0, output_rest0, resets,
                              out, maximum, normaliser, output, normaliser_rest, output_rest, alpha, kept);
  });
}

ffi::Error backward_handler(ffi::ThreadPool pool, Array scores, Array values, Array maximum0, Array normaliser0,
                            Array output0, Array resets, Array out, Array maximum, Array normaliser, Array output,
                            Array alpha, Array kept, Array g, Array g_maximum, Array g_normaliser, Array g_output,
                            Result dscores, Result dvalues, Result dmaximum, Result dnormaliser, Result doutput) {
  return for_type_of(values, [&](auto number) {
    backward<decltype(number)>(pool, scores, values, maximum0, normaliser0, output0, resets, out, maximum, normaliser,
                               output, alpha, kept, g, g_maximum, g_normaliser, g_output, dscores, dvalues, dmaximum,
                               dnormaliser, doutput);
  });
}

}  // namespace

TWOFOLD_HANDLER(softmax_forward, forward_handler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()   // scores, (time, heads)
                                  .Arg<Array>()   // values, (time, heads, dim)
                                  .Arg<Array>()   // the state: maximum, (heads,)
                                  .Arg<Array>()   // normaliser, (heads,)
                                  .Arg<Array>()   // output, (heads, dim)
                                  .Arg<Array>()   // what rounding left out of the normaliser
                                  .Arg<Array>()   // and of the output
                                  .Arg<Array>()   // resets, (time or 0,)
                                  .Ret<Array>()   // out, (time, heads, dim)
                                  .Ret<Array>()   // the last state
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()   // alpha, (time, heads)
                                  .Ret<Array>());  // 1 - alpha

TWOFOLD_HANDLER(softmax_backward, backward_handler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()  // the arguments of forward, but for what rounding left out
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()  // its results
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()   // cotangents of out and of the last state
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()   // those of scores, values and the state
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>());

}  // namespace twofold

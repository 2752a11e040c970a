#include "handlers.h"

namespace twofold {
namespace {

template <class T>
struct Runner {  // of one direction of the recurrence, over a batch
  ffi::ThreadPool& pool;
  int64_t batch, time, width, heads_width;  // numbers of a row of b, and of a
  bool summing, complex;

  // `kernel(job, from, to, state, decay, sum)` over each sequence; `state_of(i)` is its state, left at the last;
  // `sum_of(i)` takes the sum of what the tiles leave in theirs.
  template <class Kernel, class StateOf, class SumOf>
  void operator()(const Kernel& kernel, const StateOf& state_of, const SumOf& sum_of) {
    const int64_t tiles = (time + TILE - 1) / TILE, sum_width = summing ? heads_width : 0;
    const auto add = [&](int64_t i, const T* sums) {
      for (int64_t j = 0; j < sum_width; j++) sum_of(i)[j] += sums[j];
    };
    const auto end = [&](int64_t tile) { return std::min((tile + 1) * TILE, time); };
    if (!divides_time(pool, batch, time, batch * time * width)) {
      return over_batch(pool, batch, batch * time * width, [&](int64_t i) {
        std::vector<T> sums(sum_width);
        for (int64_t tile = 0; tile < tiles; tile++) {
          std::fill(sums.begin(), sums.end(), T(0));
          kernel(i, tile * TILE, end(tile), state_of(i), nullptr, sums.data());
          add(i, sums.data());
        }
      });
    }
    for (int64_t i = 0; i < batch; i++) {
      std::vector<T> states((tiles + 1) * width), effects(tiles * width), decays(tiles * width), sums(tiles * sum_width);
      std::copy_n(state_of(i), width, states.data());
      chain(
          pool, tiles,
          [&](int64_t tile) {
            one(&decays[tile * width]);
            kernel(i, tile * TILE, end(tile), &effects[tile * width], &decays[tile * width], nullptr);
          },
          [&](int64_t tile) {
            const T* before = &states[tile * width];
            T* after = &states[(tile + 1) * width];
            const T* decay = &decays[tile * width];
            if (all_finite(before, width) && all_finite(decay, width))
              return apply(decay, &effects[tile * width], before, after);
            std::vector<T> unused(sum_width);
            std::copy_n(before, width, after);
            kernel(i, tile * TILE, end(tile), after, nullptr, unused.data());
          },
          [&](int64_t tile) {
            kernel(i, tile * TILE, end(tile), &states[tile * width], nullptr, sums.data() + tile * sum_width);
          });
      std::copy_n(&states[tiles * width], width, state_of(i));
      for (int64_t tile = 0; tile < tiles; tile++) add(i, sums.data() + tile * sum_width);
    }
  }

  void one(T* decay) const {
    for (int64_t j = 0; j < width; j++) decay[j] = complex && j % 2 ? 0 : 1;
  }
  // The state is finite here.
  void apply(const T* decay, const T* effect, const T* state, T* next) const {
    if (complex)
      for (int64_t j = 0; j < width; j += 2) {
        const T re = decay[j], im = decay[j + 1], x = state[j], y = state[j + 1];
        next[j] = effect[j] + re * x - im * y;
        next[j + 1] = effect[j + 1] + re * y + im * x;
      }
    else
      for (int64_t j = 0; j < width; j++) next[j] = effect[j] + decay[j] * state[j];
  }
};

template <class T, bool complex>
void forward(ffi::ThreadPool& pool, const Array& a, const Array& b, const Array& h0,
             const Array& resets, bool reverse, Result& h) {
  constexpr int64_t parts = complex ? 2 : 1;
  const int64_t time = axis(b, 3), heads = axis(b, 2), dim = axis(b, 1), decays = axis(a, 2) * heads * parts;
  const int64_t width = heads * dim * parts, batch = batch_size(b, 3);
  std::vector<T> states(data<T>(h0), data<T>(h0) + batch * width);
  const auto& kernel = complex ? kernels_of<T>().linear_complex : kernels_of<T>().linear;
  Runner<T>{pool, batch, time, width, heads * parts, false, complex}(
      [&](int64_t i, int64_t from, int64_t to, T* state, T* decay, T*) {
        Linear<T> job{time, heads, dim, axis(a, 2) == 1, reverse, streams<T>(h, dim == 1 ? width : dim * parts)};
        job.a = data<T>(a) + i * decays;
        job.b = data<T>(b) + i * time * width;
        job.resets = resets_of(resets, i);
        job.h = data<T>(h) + i * time * width;
        kernel.forward(job, from, to, state, decay);
      },
      [&](int64_t i) { return states.data() + i * width; }, [](int64_t) -> T* { return nullptr; });
}

template <class T, bool complex>
void backward(ffi::ThreadPool& pool, const Array& a, const Array& g, const Array& states,
              const Array& h0, const Array& resets, bool reverse, Result& da,
              Result& db, Result& dh0) {
  constexpr int64_t parts = complex ? 2 : 1;
  const int64_t time = axis(g, 3), heads = axis(g, 2), dim = axis(g, 1), decays = axis(a, 2) * heads * parts;
  const int64_t width = heads * dim * parts, batch = batch_size(g, 3);
  const bool constant = axis(a, 2) == 1;
  if (constant) std::fill_n(data<T>(da), batch * decays, T(0));
  std::fill_n(data<T>(dh0), batch * width, T(0));
  const auto& kernel = complex ? kernels_of<T>().linear_complex : kernels_of<T>().linear;
  Runner<T>{pool, batch, time, width, heads * parts, constant, complex}(
      [&](int64_t i, int64_t from, int64_t to, T* state, T* decay, T* sum) {
        Linear<T> job{time, heads, dim, constant, reverse, streams<T>(db, dim == 1 ? width : dim * parts)};
        job.a = data<T>(a) + i * decays;
        job.b = data<T>(g) + i * time * width;
        job.resets = resets_of(resets, i);
        job.h0 = data<T>(h0) + i * width;
        job.states = data<T>(states) + i * time * width;
        job.da = data<T>(da) + i * decays;
        job.db = data<T>(db) + i * time * width;
        kernel.backward(job, from, to, state, decay, sum);
      },
      [&](int64_t i) { return data<T>(dh0) + i * width; }, [&](int64_t i) { return data<T>(da) + i * decays; });
}

// Calls f(T(), complex), T the type of the parts of the array's numbers.
template <class F>
ffi::Error for_numbers_of(const Array& array, const F& f) {
  switch (array.element_type()) {
    case ffi::C64: f(float(), std::true_type()); return ffi::Error::Success();
    case ffi::C128: f(double(), std::true_type()); return ffi::Error::Success();
    default: return for_type_of(array, [&](auto number) { f(number, std::false_type()); });
  }
}

ffi::Error forward_handler(ffi::ThreadPool pool, Array a, Array b, Array h0,
                           Array resets, Result h, bool reverse) {
  return for_numbers_of(b, [&](auto number, auto complex) {
    forward<decltype(number), complex>(pool, a, b, h0, resets, reverse, h);
  });
}

ffi::Error backward_handler(ffi::ThreadPool pool, Array a, Array g, Array states,
                            Array h0, Array resets, Result da,
                            Result db, Result dh0, bool reverse) {
  return for_numbers_of(g, [&](auto number, auto complex) {
    backward<decltype(number), complex>(pool, a, g, states, h0, resets, reverse, da, db, dh0);
  });
}

}  // namespace

TWOFOLD_HANDLER(linear_forward, forward_handler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()  // a, (time or 1, heads)
                                  .Arg<Array>()  // b, (time, heads, dim)
                                  .Arg<Array>()  // h0, (heads, dim)
                                  .Arg<Array>()  // resets, (time or 0,)
                                  .Ret<Array>()  // h
                                  .Attr<bool>("reverse"));

TWOFOLD_HANDLER(linear_backward, backward_handler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()  // a
                                  .Arg<Array>()  // g, the cotangent of h
                                  .Arg<Array>()  // h
                                  .Arg<Array>()  // h0
                                  .Arg<Array>()  // resets
                                  .Ret<Array>()  // da
                                  .Ret<Array>()  // db
                                  .Ret<Array>()  // dh0
                                  .Attr<bool>("reverse"));

}  // namespace twofold

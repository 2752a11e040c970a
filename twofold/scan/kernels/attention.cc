#include "handlers.h"

namespace twofold {
namespace {

template <class T>
struct Shape {
  int64_t time, seen, heads, d_k, d_v, batch;
  Shape(const Array& q, const Array& v)
      : time(axis(q, 3)), seen(axis(v, 3)), heads(axis(q, 2)), d_k(axis(q, 1)), d_v(axis(v, 1)), batch(batch_size(q, 3)) {}
  int64_t blocks() const { return (time + QUERIES - 1) / QUERIES; }
  int64_t keys() const { return seen * heads * d_k; }
  int64_t values() const { return seen * heads * d_v; }

  // Of the i-th sequence: what both passes take.
  Attention<T> job(int64_t i, const Array& q, const Array& k, const Array& v, const Array& first, const Array& out,
                   const Array& maximum, const Array& normaliser) const {
    Attention<T> job{time, seen, heads, d_k, d_v};
    job.q = data<T>(q) + i * time * heads * d_k;
    job.k = data<T>(k) + i * keys();
    job.v = data<T>(v) + i * values();
    job.first = data<int32_t>(first) + i * time;
    job.out = data<T>(out) + i * time * heads * d_v;
    job.maximum = data<T>(maximum) + i * time * heads;
    job.normaliser = data<T>(normaliser) + i * time * heads;
    return job;
  }
};

template <class T>
void forward(ffi::ThreadPool& pool, const Array& q, const Array& k, const Array& v, const Array& first, Result& out,
             Result& maximum, Result& normaliser) {
  const Shape<T> shape(q, v);
  const auto& kernel = kernels_of<T>().attention;
  const int64_t heads = shape.batch * shape.heads;
  over_batch(pool, shape.blocks() * heads, heads * shape.time * shape.seen, [&](int64_t task) {
    const int64_t block = shape.blocks() - 1 - task / heads;  // those with the most keys come first
    const auto job = shape.job(task % heads / shape.heads, q, k, v, first, *out, *maximum, *normaliser);
    const std::unique_ptr<T[]> scratch(new T[kernel.scratch(job)]);
    const int64_t from = block * QUERIES;
    kernel.forward(job, task % shape.heads, from, std::min(from + QUERIES, shape.time), scratch.get());
  });
}

template <class T>
void backward(ffi::ThreadPool& pool, const Array& q, const Array& k, const Array& v, const Array& first, const Array& out,
              const Array& maximum, const Array& normaliser, const Array& g, Result& dq, Result& dk, Result& dv) {
  const Shape<T> shape(q, v);
  const auto& kernel = kernels_of<T>().attention;
  const int64_t heads = shape.batch * shape.heads, numbers = heads * shape.time * shape.seen;
  // Each head's keys and values are one thread's. Where heads are too few for that, the queries are parted, each part with
  // gradients of its own, which are added at the end.
  const int64_t wanted = numbers < WORTH_THREADS ? 1 : 2 * pool.num_threads() / std::max<int64_t>(heads, 1);
  const int64_t parts = std::max<int64_t>(1, std::min(wanted, shape.blocks()));
  const int64_t keys = shape.batch * shape.keys(), values = shape.batch * shape.values();
  std::vector<T> more((parts - 1) * (keys + values));
  over_batch(pool, parts * heads, numbers, [&](int64_t task) {
    const int64_t part = task / heads, i = task % heads / shape.heads, head = task % shape.heads;
    auto job = shape.job(i, q, k, v, first, out, maximum, normaliser);
    job.g = data<T>(g) + i * shape.time * shape.heads * shape.d_v;
    job.dq = data<T>(dq) + i * shape.time * shape.heads * shape.d_k;
    job.dk = (part ? &more[(part - 1) * keys] : data<T>(dk)) + i * shape.keys();
    job.dv = (part ? &more[(parts - 1) * keys + (part - 1) * values] : data<T>(dv)) + i * shape.values();
    for (int64_t s = 0; part == 0 && s < shape.seen; s++) {
      std::fill_n(job.dk + (s * shape.heads + head) * shape.d_k, shape.d_k, T(0));
      std::fill_n(job.dv + (s * shape.heads + head) * shape.d_v, shape.d_v, T(0));
    }
    const std::unique_ptr<T[]> scratch(new T[kernel.scratch(job)]);
    for (int64_t from = part * QUERIES; from < shape.time; from += parts * QUERIES)
      kernel.backward(job, head, from, std::min(from + QUERIES, shape.time), scratch.get());
  });
  for (int64_t part = 1; part < parts; part++) {
    for (int64_t i = 0; i < keys; i++) data<T>(dk)[i] += more[(part - 1) * keys + i];
    for (int64_t i = 0; i < values; i++) data<T>(dv)[i] += more[(parts - 1) * keys + (part - 1) * values + i];
  }
}

ffi::Error forward_handler(ffi::ThreadPool pool, Array q, Array k, Array v, Array first, Result out, Result maximum,
                           Result normaliser) {
  return for_type_of(v, [&](auto number) {
    forward<decltype(number)>(pool, q, k, v, first, out, maximum, normaliser);
  });
}

ffi::Error backward_handler(ffi::ThreadPool pool, Array q, Array k, Array v, Array first, Array out, Array maximum,
                            Array normaliser, Array g, Result dq, Result dk, Result dv) {
  return for_type_of(v, [&](auto number) {
    backward<decltype(number)>(pool, q, k, v, first, out, maximum, normaliser, g, dq, dk, dv);
  });
}

}  // namespace

TWOFOLD_HANDLER(attention_forward, forward_handler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()   // q, (time, heads, d_k)
                                  .Arg<Array>()   // k, (seen, heads, d_k)
                                  .Arg<Array>()   // v, (seen, heads, d_v)
                                  .Arg<Array>()   // the first key that each query sees, (time,)
                                  .Ret<Array>()   // out, (time, heads, d_v)
                                  .Ret<Array>()   // the largest score of each query, (time, heads)
                                  .Ret<Array>());  // the sum of its weights relative to the largest

TWOFOLD_HANDLER(attention_backward, backward_handler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()  // the arguments of forward
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()  // its results
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()   // the cotangent of out
                                  .Ret<Array>()   // those of q, k and v
                                  .Ret<Array>()
                                  .Ret<Array>());

}  // namespace twofold

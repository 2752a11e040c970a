#include "handlers.h"

namespace twofold {
namespace {

template <class T>
void forward(ffi::ThreadPool& pool, const Array& q, const Array& k, const Array& v, const Array& state,
             const Array& segments, const Array& segment, bool reverse, Result& out, Result& last) {
  const int64_t time = axis(q, 3), heads = axis(q, 2), d_k = axis(q, 1), d_v = axis(v, 1), batch = batch_size(q, 3);
  const auto& kernel = kernels_of<T>().kv;
  over_batch(pool, batch * heads, batch * time * heads * (d_k + d_v), [&](int64_t task) {
    const int64_t i = task / heads, keys = time * heads * d_k, values = time * heads * d_v;
    Kv<T> job{time, heads, d_k, d_v, reverse};
    job.q = data<T>(q) + i * keys;
    job.k = data<T>(k) + i * keys;
    job.v = data<T>(v) + i * values;
    job.segments = axis(segments, 1) ? data<int32_t>(segments) + i * time : nullptr;
    job.segment = data<int32_t>(segment)[i];
    job.state = data<T>(state) + i * heads * d_k * d_v;
    job.out = data<T>(out) + i * values;
    job.last = data<T>(last) + i * heads * d_k * d_v;
    std::vector<T> scratch(kernel.scratch(job));
    kernel.forward(job, task % heads, scratch.data());
  });
}

ffi::Error forward_handler(ffi::ThreadPool pool, Array q, Array k, Array v, Array state, Array segments, Array segment,
                           Result out, Result last, bool reverse) {
  return for_type_of(v, [&](auto number) {
    forward<decltype(number)>(pool, q, k, v, state, segments, segment, reverse, out, last);
  });
}

}  // namespace

TWOFOLD_HANDLER(kv_forward, forward_handler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()  // q, (time, heads, d_k)
                                  .Arg<Array>()  // k
                                  .Arg<Array>()  // v, (time, heads, d_v)
                                  .Arg<Array>()  // the state, (heads, d_k, d_v)
                                  .Arg<Array>()  // the segment of each token, (time or 0,)
                                  .Arg<Array>()  // that of the state, ()
                                  .Ret<Array>()  // out, (time, heads, d_v)
                                  .Ret<Array>()  // the last state
                                  .Attr<bool>("reverse"));

}  // namespace twofold

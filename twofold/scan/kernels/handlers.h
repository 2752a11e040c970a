// What the handlers, the functions that XLA calls, have in common: threads, batches, and the choice of an instruction set.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

// Defines the handler `name`, and exports it: all else stays within the library.
#define TWOFOLD_HANDLER(name, ...)                                                             \
  extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* name(XLA_FFI_CallFrame*);   \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, __VA_ARGS__)

namespace twofold {

namespace ffi = xla::ffi;
using Array = ffi::AnyBuffer;
using Result = ffi::Result<ffi::AnyBuffer>;

// The kernels for the best instruction set that this processor has.
const Kernels& kernels();

template <class T>
const KernelsOf<T>& kernels_of() {
  if constexpr (sizeof(T) == 4) return kernels().single;
  else return kernels().in_double;
}

// Numbers below which waking up other threads takes longer than the work.
constexpr int64_t WORTH_THREADS = 1 << 16;

// Runs f(0), f(1), .. f(tasks - 1), begun in this order, on XLA's threads and this one, which takes what no other has begun:
// should they all be busy, it does everything itself.
template <class F>
void parallel(ffi::ThreadPool& pool, int64_t tasks, const F& f) {
  struct Shared {
    const F& f;
    const int64_t tasks;
    std::atomic<int64_t> next{0}, finished{0};
    Shared(const F& f, int64_t tasks) : f(f), tasks(tasks) {}
    void run() {
      for (int64_t i; (i = next++) < tasks; finished++) f(i);
    }
  };
  const auto shared = std::make_shared<Shared>(f, tasks);
  for (int64_t i = 1; i < std::min<int64_t>(pool.num_threads(), tasks); i++) pool.Schedule([shared] { shared->run(); });
  shared->run();
  while (shared->finished < tasks) std::this_thread::yield();
}

// Where `numbers` of a batch are worth it, each of its sequences on its own on some thread.
template <class F>
void over_batch(ffi::ThreadPool& pool, int64_t batch, int64_t numbers, const F& f) {
  if (numbers >= WORTH_THREADS) return parallel(pool, batch, f);
  for (int64_t i = 0; i < batch; i++) f(i);
}

// True where threads share each sequence, by chain(). That is twice the work: with two threads it took up to twice as long.
inline bool divides_time(ffi::ThreadPool& pool, int64_t batch, int64_t time, int64_t numbers) {
  return 4 * batch <= pool.num_threads() && time >= 4 * TILE && numbers >= 4 * WORTH_THREADS;
}

template <class T>
bool all_finite(const T* numbers, int64_t count) {
  return std::all_of(numbers, numbers + count, [](T x) { return std::isfinite(x); });
}

// A recurrence, tile by tile on several threads. Each tile is read from memory once: its thread runs it without the state before
// it, which gives the tile's effect on any state; waits for that state, passes on the one after; and runs it again.
//
// A tile's effect on a state is a product with its decays, which may underflow or overflow. Zero times infinity says nothing
// then, so pass_on() runs the tile itself where the state before it, or a product of decays, is not finite.
//
// effect(tile) comes first, in any order; pass_on(tile) from the first tile to the last; run(tile) after that.
template <class Effect, class PassOn, class Run>
void chain(ffi::ThreadPool& pool, int64_t tiles, const Effect& effect, const PassOn& pass_on, const Run& run) {
  std::atomic<int64_t> passed{0};
  parallel(pool, tiles, [&](int64_t tile) {
    effect(tile);
    while (passed < tile) std::this_thread::yield();
    pass_on(tile);
    passed = tile + 1;
    run(tile);
  });
}

// The axes of an array that `core` axes come after: those of the batch.
inline ffi::Span<const int64_t> batch_axes(const Array& array, int64_t core) {
  return array.dimensions().first(array.dimensions().size() - core);
}

inline int64_t batch_size(const Array& array, int64_t core) {
  int64_t size = 1;
  for (const int64_t n : batch_axes(array, core)) size *= n;
  return size;
}

// The axis counted from the last.
inline int64_t axis(const Array& array, int64_t from_last) {
  return array.dimensions()[array.dimensions().size() - from_last];
}

template <class T>
T* data(const Array& array) {
  return reinterpret_cast<T*>(array.untyped_data());
}

template <class T>
T* data(Result& array) {
  return reinterpret_cast<T*>(array->untyped_data());
}

// True if a result with rows of `width` numbers should go past the cache: it is too large for it, and rows are whole vectors.
template <class T>
bool streams(Result& array, int64_t width) {
  return array->size_bytes() >= (8 << 20) && width * sizeof(T) % 64 == 0 && reinterpret_cast<uintptr_t>(array->untyped_data()) % 64 == 0;
}

// Resets of the i-th sequence; null where the array is empty, as it is where there are none.
inline const bool* resets_of(const Array& resets, int64_t i) {
  const int64_t time = axis(resets, 1);
  return time ? data<bool>(resets) + i * time : nullptr;
}

// Calls f(T()), T the type of the array's real numbers.
template <class F>
ffi::Error for_type_of(const Array& array, const F& f) {
  switch (array.element_type()) {
    case ffi::F32: f(float()); return ffi::Error::Success();
    case ffi::F64: f(double()); return ffi::Error::Success();
    default: return ffi::Error::InvalidArgument("the native kernels take float32 or float64");
  }
}

}  // namespace twofold

// Calls every handler of the native kernels as XLA does, with a call frame, at sizes where kernels and threads take different
// ways; tests/native/sanitize builds it with sanitizers. It fails where they do, where a handler leaves a result unwritten or
// makes it NaN, and where results depend on the number of threads.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <sanitizer/common_interface_defs.h>

#include "xla/ffi/api/c_api.h"

extern "C" {
XLA_FFI_Handler linear_forward, linear_backward, softmax_forward, softmax_backward, kv_forward, attention_forward,
    attention_backward;
XLA_FFI_Handler lstm_forward, lstm_backward, gru_forward, gru_backward;
const char* twofold_instruction_set();
}

// XLA's threads: `workers` of them, told to handlers as `threads`. Without workers, tasks wait until finish(): as where XLA's
// threads are busy until the handler has returned.
struct XLA_FFI_ExecutionContext {
  XLA_FFI_ExecutionContext(int64_t threads, int64_t workers) : threads(threads) {
    for (int64_t i = 0; i < workers; i++) workers_.emplace_back([this] { work(true); });
  }
  ~XLA_FFI_ExecutionContext() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  void schedule(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
      scheduled++;
    }
    changed_.notify_one();
  }
  void finish() { work(false); }

  const int64_t threads;
  int64_t scheduled = 0;

 private:
  void work(bool wait) {
    std::unique_lock lock(mutex_);
    while (true) {
      if (wait) changed_.wait(lock, [this] { return closed_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      const auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool closed_ = false;
  std::vector<std::thread> workers_;
};

struct XLA_FFI_Error {
  std::string message;
};

namespace {

using Pool = XLA_FFI_ExecutionContext;
using Axes = std::vector<int64_t>;

std::string now;  // What is being exercised, for messages.

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "%s: %s\n", now.c_str(), why.c_str());
  std::exit(1);
}

// An array's numbers. Those of complex ones are pairs of real numbers.
enum Type { F32 = XLA_FFI_DataType_F32, F64 = XLA_FFI_DataType_F64, C64 = XLA_FFI_DataType_C64, C128 = XLA_FFI_DataType_C128,
            PRED = XLA_FFI_DataType_PRED, S32 = XLA_FFI_DataType_S32 };

size_t width(Type type) {
  return type == PRED ? 1 : type == C128 ? 16 : type == F64 || type == C64 ? 8 : 4;
}

bool single(Type type) { return type == F32 || type == C64; }

struct Value {
  Type type;
  Axes axes;
  std::vector<unsigned char> bytes;

  Value(Type type, Axes axes) : type(type), axes(std::move(axes)) {
    size_t size = width(type);
    for (const int64_t n : this->axes) size *= n;
    bytes.assign(size, 0xFF);  // NaN
  }
  template <class T>
  T* numbers() { return reinterpret_cast<T*>(bytes.data()); }
  size_t count() const { return bytes.size() / (single(type) ? 4 : 8); }
  template <class T>
  const T* numbers() const { return reinterpret_cast<const T*>(bytes.data()); }
  void set(size_t i, double x) { single(type) ? void(numbers<float>()[i] = float(x)) : void(numbers<double>()[i] = x); }
};

// Exactly as many bytes as a value has. With a guard, a page that faults follows them, and what is read only faults when written:
// sanitizers do not see what the intrinsics of masked loads and stores touch.
enum Where { UNALIGNED, ALIGNED, GUARDED };

class Memory {
 public:
  Memory(const Value& value, Where where, bool writable) : size_(value.bytes.size()) {
    const size_t page = sysconf(_SC_PAGESIZE);
    if (where == UNALIGNED) {
      data = base_ = std::malloc(size_);
    } else if (where == ALIGNED) {
      if (size_ > 0 && posix_memalign(&base_, 64, size_) != 0) fail("no memory");
      data = base_;  // null if empty
    } else {
      const size_t used = (size_ + page - 1) / page * page;
      mapped_ = used + page;
      base_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (base_ == MAP_FAILED) fail("no memory");
      data = static_cast<char*>(base_) + used - size_;
      mprotect(static_cast<char*>(base_) + used, page, PROT_NONE);
    }
    if (size_ > 0) std::memcpy(data, value.bytes.data(), size_);
    if (mapped_ > page && !writable) mprotect(base_, mapped_ - page, PROT_READ);
  }
  Memory(const Memory&) = delete;
  ~Memory() { mapped_ ? void(munmap(base_, mapped_)) : std::free(base_); }

  void* data;

 private:
  void* base_ = nullptr;
  size_t size_, mapped_ = 0;
};

// XLA's part of the interface, of which handlers use threads and errors.
const XLA_FFI_Api& api() {
  static const XLA_FFI_Api all = [] {
    XLA_FFI_Api api{};
    api.struct_size = XLA_FFI_Api_STRUCT_SIZE;
    api.XLA_FFI_Error_Create = [](XLA_FFI_Error_Create_Args* args) { return new XLA_FFI_Error{args->message}; };
    api.XLA_FFI_Error_GetMessage = [](XLA_FFI_Error_GetMessage_Args* args) { args->message = args->error->message.c_str(); };
    api.XLA_FFI_Error_Destroy = [](XLA_FFI_Error_Destroy_Args* args) { delete args->error; };
    api.XLA_FFI_ThreadPool_NumThreads = [](XLA_FFI_ThreadPool_NumThreads_Args* args) -> XLA_FFI_Error* {
      *args->num_threads = args->ctx->threads;
      return nullptr;
    };
    api.XLA_FFI_ThreadPool_Schedule = [](XLA_FFI_ThreadPool_Schedule_Args* args) -> XLA_FFI_Error* {
      args->ctx->schedule([task = args->task, data = args->data] { task(data); });
      return nullptr;
    };
    return api;
  }();
  return all;
}

struct Handler {
  const char* name;
  XLA_FFI_Handler* call;
};

// What a call's arguments, or its results, are to XLA.
struct Buffers {
  Buffers(const std::vector<Value>& values, Where where, bool writable) {
    for (const Value& value : values) {
      axes.push_back(value.axes);
      memory.push_back(std::make_unique<Memory>(value, where, writable));
    }
    for (size_t i = 0; i < values.size(); i++)
      buffers.push_back({XLA_FFI_Buffer_STRUCT_SIZE, nullptr, XLA_FFI_DataType(values[i].type), memory[i]->data,
                         int64_t(axes[i].size()), axes[i].data()});
    for (auto& buffer : buffers) pointers.push_back(&buffer);
  }
  std::vector<Axes> axes;
  std::vector<std::unique_ptr<Memory>> memory;
  std::vector<XLA_FFI_Buffer> buffers;
  std::vector<void*> pointers;
};

// The results, which have the types and axes of `results`. `flag` is the attribute `reverse`, if the handler has one.
std::vector<Value> call(const Handler& handler, Pool& pool, Where where, const std::vector<Value>& args,
                        std::vector<Value> results, const bool* flag) {
  Buffers given(args, where, false), wanted(results, where, true);
  std::vector<XLA_FFI_ArgType> given_types(args.size(), XLA_FFI_ArgType_BUFFER);
  std::vector<XLA_FFI_RetType> wanted_types(results.size(), XLA_FFI_RetType_BUFFER);
  bool reverse = flag && *flag;
  XLA_FFI_AttrType scalar = XLA_FFI_AttrType_SCALAR;
  XLA_FFI_ByteSpan span{"reverse", 7}, *name = &span;
  XLA_FFI_Scalar attribute{XLA_FFI_DataType_PRED, &reverse};
  void* attributes = &attribute;

  XLA_FFI_CallFrame frame{};
  frame.struct_size = XLA_FFI_CallFrame_STRUCT_SIZE;
  frame.api = &api();
  frame.ctx = &pool;
  frame.stage = XLA_FFI_ExecutionStage_EXECUTE;
  frame.args = {XLA_FFI_Args_STRUCT_SIZE, nullptr, int64_t(args.size()), given_types.data(), given.pointers.data()};
  frame.rets = {XLA_FFI_Rets_STRUCT_SIZE, nullptr, int64_t(results.size()), wanted_types.data(), wanted.pointers.data()};
  frame.attrs = {XLA_FFI_Attrs_STRUCT_SIZE, nullptr, flag ? 1 : 0, &scalar, &name, &attributes};
  if (XLA_FFI_Error* error = handler.call(&frame)) fail(error->message);

  for (size_t i = 0; i < results.size(); i++)
    if (!results[i].bytes.empty()) std::memcpy(results[i].bytes.data(), wanted.memory[i]->data, results[i].bytes.size());
  return results;
}

std::string text(const Axes& axes) {
  std::string text = "(";
  for (const int64_t n : axes) text += std::to_string(n) + ",";
  return text + ")";
}

template <class T>
void compare(int64_t result, const Value& ones, const Value& others, double tolerance) {
  const T *one = ones.numbers<T>(), *other = others.numbers<T>();
  T largest = 0, difference = 0;
  for (size_t i = 0; i < ones.count(); i++) {
    if (std::isnan(one[i]) || std::isnan(other[i])) fail("result " + std::to_string(result) + " is NaN at " + std::to_string(i));
    // What stands for "nothing seen yet" would hide all others.
    if (std::abs(one[i]) < T(1e20)) largest = std::max(largest, std::abs(one[i]));
    difference = std::max(difference, std::abs(one[i] - other[i]));
  }
  if (difference > tolerance * (1 + largest))
    fail("result " + std::to_string(result) + " depends on the threads by " + std::to_string(difference));
}

void compare(const std::vector<Value>& ones, const std::vector<Value>& others) {
  for (size_t i = 0; i < ones.size(); i++)
    single(ones[i].type) ? compare<float>(i, ones[i], others[i], 2e-4) : compare<double>(i, ones[i], others[i], 1e-11);
}

#ifdef __SANITIZE_THREAD__
constexpr bool PAST_CACHE = false;  // ThreadSanitizer is slow, and what it looks for is in calls on threads
constexpr int DRAWS = 5;
#else
constexpr bool PAST_CACHE = true;
constexpr int DRAWS = 100;
#endif

std::map<std::string, int64_t> calls, on_threads;

// The results of one call: the same with 1, 2 and 8 threads, and with 8 that do nothing before it has returned.
std::vector<Value> exercise(const Handler& handler, const std::vector<Value>& args, const std::vector<Value>& like,
                            const bool* flag = nullptr) {
  static Pool one(1, 1), two(2, 2), eight(8, 8), busy(8, 0);
  now = std::string(handler.name) + ", arguments";
  for (const Value& arg : args) now += " " + text(arg.axes);
  now += std::string(" of type ") + std::to_string(args[0].type) + (flag && *flag ? ", reverse" : "");
  const int64_t before = eight.scheduled;
  const auto results = call(handler, one, UNALIGNED, args, like, flag);
  compare(results, call(handler, two, ALIGNED, args, like, flag));
  compare(results, call(handler, eight, GUARDED, args, like, flag));
  calls[handler.name]++;
  if (eight.scheduled > before) {
    on_threads[handler.name]++;
    compare(results, call(handler, busy, ALIGNED, args, like, flag));
    busy.finish();
  }
  return results;
}

std::mt19937 generator(1);

int64_t below(int64_t n) { return int64_t(generator() % uint64_t(n)); }

template <class T>
T pick(std::initializer_list<T> choices) {
  return choices.begin()[below(int64_t(choices.size()))];
}

bool coin() { return below(2); }

Axes join(const Axes& batch, std::initializer_list<int64_t> core) {
  Axes axes = batch;
  axes.insert(axes.end(), core);
  return axes;
}

Value uniform(Type type, Axes axes, double low, double high) {
  Value value(type, std::move(axes));
  static const std::vector<double> drawn = [] {
    std::vector<double> drawn(4099);
    for (double& x : drawn) x = double(generator()) / 4294967295.;
    return drawn;
  }();
  size_t next = generator() % drawn.size();
  for (size_t i = 0, count = value.count(); i < count; i++, next = next + 1 < drawn.size() ? next + 1 : 0)
    value.set(i, low + (high - low) * drawn[next]);
  return value;
}

Value normal(Type type, Axes axes) { return uniform(type, std::move(axes), -1, 1); }

// About one token in `every`; an empty array if there are none.
Value resets(const Axes& batch, int64_t time, bool any, int64_t every = 20) {
  Value value(PRED, join(batch, {any ? time : 0}));
  for (auto& each : value.bytes) each = below(every) == 0;
  return value;
}

std::vector<Value> shapes(std::initializer_list<const Value*> values) {  // not their numbers
  std::vector<Value> result;
  for (const Value* value : values) result.emplace_back(value->type, value->axes);
  return result;
}

const Axes TIMES = {0, 1, 63, 64, 65, 200, 1000}, SIZES = {1, 3, 8, 16, 17, 33, 64};
const std::vector<Axes> BATCHES = {{}, {}, {1}, {2}, {5}, {2, 5}, {1, 2, 1}, {5, 1}, {0}, {2, 0}};

int64_t any_of(const Axes& choices) { return choices[below(int64_t(choices.size()))]; }

int64_t product(const Axes& axes) {
  int64_t size = 1;
  for (const int64_t n : axes) size *= n;
  return size;
}

struct Shape {
  Axes batch;
  int64_t time, heads, dim;
};

Shape any_shape(int64_t most) {
  while (true) {
    Shape shape{BATCHES[below(int64_t(BATCHES.size()))], any_of(TIMES), any_of(SIZES), any_of(SIZES)};
    if (product(join(shape.batch, {shape.time, shape.heads, shape.dim})) <= most) return shape;
  }
}

void linear(Type type, const Shape& shape, bool constant, bool reset, bool reverse) {
  const auto& [batch, time, heads, dim] = shape;
  const double most = type == F32 || type == F64 ? 1 : 0.7;  // |a| <= 1
  const Value a = uniform(type, join(batch, {constant ? 1 : time, heads}), -most, most);
  const Value b = normal(type, join(batch, {time, heads, dim})), h0 = normal(type, join(batch, {heads, dim}));
  const Value fresh = resets(batch, time, reset), g = normal(type, b.axes);
  const auto h = exercise({"linear_forward", linear_forward}, {a, b, h0, fresh}, shapes({&b}), &reverse);
  exercise({"linear_backward", linear_backward}, {a, g, h[0], h0, fresh}, shapes({&a, &b, &h0}), &reverse);
}

void softmax(Type type, const Shape& shape, bool reset, bool empty) {
  const auto& [batch, time, heads, dim] = shape;
  Value scores = uniform(type, join(batch, {time, heads}), -3, 3);
  for (size_t i = 0; i < scores.count(); i++)
    if (below(10) == 0) scores.set(i, coin() ? -1e30 : 2);  // masked, and the same as others
  const Value values = normal(type, join(batch, {time, heads, dim}));
  Value maximum = uniform(type, join(batch, {heads}), -1, 4), normaliser = uniform(type, maximum.axes, 1, 2);
  Value output = normal(type, join(batch, {heads, dim}));
  if (empty) {
    for (size_t i = 0; i < maximum.count(); i++) maximum.set(i, -1e30), normaliser.set(i, 0);
    for (size_t i = 0; i < output.count(); i++) output.set(i, 0);
  }
  const Value normaliser_rest = uniform(type, maximum.axes, 0, 1e-8), output_rest = uniform(type, output.axes, 0, 1e-8);
  const Value fresh = resets(batch, time, reset);
  const auto like =
      shapes({&values, &maximum, &normaliser, &output, &normaliser_rest, &output_rest, &scores, &scores});
  const auto results =
      exercise({"softmax_forward", softmax_forward},
               {scores, values, maximum, normaliser, output, normaliser_rest, output_rest, fresh}, like);
  std::vector<Value> args = {scores, values, maximum, normaliser, output, fresh};
  for (const int i : {0, 1, 2, 3, 6, 7}) args.push_back(results[i]);
  for (const Value& like : {values, maximum, normaliser, output}) args.push_back(normal(type, like.axes));
  exercise({"softmax_backward", softmax_backward}, args, shapes({&scores, &values, &maximum, &normaliser, &output}));
}

void kv(Type type, const Shape& shape, int64_t d_v, bool several, bool reverse) {
  const auto& [batch, time, heads, d_k] = shape;
  const Value q = normal(type, join(batch, {time, heads, d_k})), k = normal(type, q.axes);
  const Value v = normal(type, join(batch, {time, heads, d_v})), state = normal(type, join(batch, {heads, d_k, d_v}));
  Value segments(S32, join(batch, {several ? time : 0})), segment(S32, batch);
  const int64_t count = product(batch);
  for (int64_t i = 0; i < count; i++) {
    int32_t here = 0;
    for (int64_t t = 0; several && t < time; t++) segments.numbers<int32_t>()[i * time + t] = here += below(30) == 0;
    segment.numbers<int32_t>()[i] = reverse && coin() ? here : 0;
  }
  exercise({"kv_forward", kv_forward}, {q, k, v, state, segments, segment}, shapes({&v, &state}), &reverse);
}

// Queries that see all tokens, or a window, or those of their own sequence. NaN that no query sees is in the way of some.
void attention(Type type, const Shape& shape, int64_t d_v, int64_t cached) {
  const auto& [batch, time, heads, d_k] = shape;
  const int64_t seen = cached + time;
  const Value q = uniform(type, join(batch, {time, heads, d_k}), -3, 3);
  Value k = normal(type, join(batch, {seen, heads, d_k})), v = normal(type, join(batch, {seen, heads, d_v}));
  Value first(S32, join(batch, {time}));
  const int64_t window = pick<int64_t>({1, 30, 100, seen});
  for (int64_t i = 0, count = product(batch); i < count; i++) {
    const int64_t bad = coin() || seen == 0 ? -1 : below(seen);
    int64_t from = 0;
    for (int64_t t = 0; t < time; t++) {
      if (below(100) == 0) from = cached + t;
      first.numbers<int32_t>()[i * time + t] = std::max({from, cached + t + 1 - window, cached + t < bad ? 0 : bad + 1});
    }
    if (bad < 0) continue;
    for (int64_t j = 0; j < heads * d_k; j++) k.set((i * seen + bad) * heads * d_k + j, NAN);
    for (int64_t j = 0; j < heads * d_v; j++) v.set((i * seen + bad) * heads * d_v + j, INFINITY);
  }
  const Value out(type, join(batch, {time, heads, d_v})), each(type, join(batch, {time, heads}));
  std::vector<Value> args = {q, k, v, first};
  for (Value& result : exercise({"attention_forward", attention_forward}, args, shapes({&out, &each, &each})))
    args.push_back(std::move(result));
  args.push_back(normal(type, out.axes));
  exercise({"attention_backward", attention_backward}, args, shapes({&q, &k, &v}));
}

// Some of the axes of a batch, the others 1: an array that sequences along these have in common.
Axes some(Axes batch) {
  for (auto& n : batch)
    if (n > 0 && coin()) n = 1;
  return batch;
}

// An empty array, as what is absent is given: of fewer axes than it would have.
Value none(Type type, const Axes& batch) { return Value(type, join(Axes(batch.size(), 1), {0})); }

void lstm(Type type, const Axes& batch, int64_t time, int64_t n, bool shared, bool reset) {
  const auto random = [&](std::initializer_list<int64_t> core) { return normal(type, join(some(batch), core)); };
  const Axes weights = shared ? Axes(batch.size(), 1) : some(batch);
  const Value v = uniform(type, join(weights, {4 * n, n}), -.3, .3);
  const Value fresh = resets(some(batch), time, reset);
  const Value last(type, join(batch, {n})), each(type, join(batch, {time, n})), all(type, join(batch, {time, 4 * n}));
  exercise({"lstm_forward", lstm_forward}, {random({time, 4 * n}), v, random({n}), random({n}), fresh},
           shapes({&last, &last, &each, &each, &all}));

  const auto perhaps = [&](const Value& value) { return coin() ? value : none(type, batch); };
  const Value gates = uniform(type, join(some(batch), {time, 4 * n}), 0, 1);
  exercise({"lstm_backward", lstm_backward},
           {v, fresh, random({time, n}), gates, random({n}), random({n}), perhaps(random({time, n})),
            perhaps(random({time, n})), perhaps(random({time, 4 * n}))},
           shapes({&all, &last, &last}));
}

void gru(Type type, const Axes& batch, int64_t time, int64_t n, bool shared, bool reset, bool after) {
  const auto random = [&](std::initializer_list<int64_t> core) { return normal(type, join(some(batch), core)); };
  const Axes weights = shared ? Axes(batch.size(), 1) : some(batch);
  const int64_t n_after = after ? n : 0;
  const Value v = uniform(type, join(weights, {3 * n, n}), -.3, .3), b_n = random({n_after});
  const Value fresh = resets(some(batch), time, reset), h0 = random({n});
  const Value last(type, join(batch, {n})), each(type, join(batch, {time, n})), all(type, join(batch, {time, 3 * n}));
  const Value products(type, join(batch, {time, n_after})), d_products(type, join(batch, {time, 3 * n_after}));
  exercise({"gru_forward", gru_forward}, {random({time, 3 * n}), v, h0, b_n, fresh}, shapes({&last, &each, &all, &products}));

  const auto perhaps = [&](const Value& value) { return coin() ? value : none(type, batch); };
  const Value gates = uniform(type, join(some(batch), {time, 3 * n}), 0, 1);
  const Value of_h = after ? random({time, n}) : Value(type, join(Axes(batch.size(), 1), {1, 0}));
  exercise({"gru_backward", gru_backward},
           {v, h0, b_n, fresh, random({time, n}), gates, of_h, random({n}), perhaps(random({time, n})),
            perhaps(random({time, 3 * n})), after ? perhaps(random({time, n})) : none(type, batch)},
           shapes({&all, &d_products, &last}));
}

// Of sizes where threads share a batch, or the time of each of its sequences; of both kinds, also such that results are written
// past the cache.
void large(Type type) {
  const bool real = type == F32 || type == F64;
  for (const Shape& shape : {Shape{{}, 1000, 17, 33}, Shape{{2}, 257, 33, 33}, Shape{{5}, 200, 17, 16}, Shape{{}, 1000, 33, 64},
                             Shape{{}, 1025, single(type) ? 2112 : 1056, 1}, Shape{{3}, 700, 17, 64}}) {
    if (!PAST_CACHE && product(join(shape.batch, {shape.time, shape.heads, shape.dim})) > 1'000'000) continue;
    const bool reset = coin(), reverse = coin();
    linear(type, shape, coin(), reset, reverse);
    if (real) softmax(type, shape, !reset, coin());
  }
  if (!real) return;
  for (const Axes& batch : {Axes{9}, Axes{2, 5}, Axes{5, 1}, Axes{1, 2, 1}}) {
    const bool reset = coin();
    kv(type, {batch, 200, 3, 33}, 64, reset, coin());
    attention(type, {batch, 257, 3, 33}, 64, pick<int64_t>({0, 70}));
    lstm(type, batch, 257, 33, coin(), reset);
    for (const bool after : {false, true}) gru(type, batch, 257, 33, coin(), !reset, after);
  }
}

// Several calls at once from the threads that they are to share, as where XLA runs them so.
void at_once() {
  now = "several calls at once";
  const Value a = uniform(F32, {1000, 17}, 0, 1), b = normal(F32, {1000, 17, 33}), h0 = normal(F32, {17, 33});
  const std::vector<Value> args = {a, b, h0, resets({}, 1000, true)};
  const bool reverse = false;
  Pool pool(8, 3);
  std::vector<std::vector<Value>> results(6);
  std::mutex mutex;
  std::condition_variable changed;
  size_t done = 0;
  for (auto& result : results)
    pool.schedule([&] {
      result = call({"linear_forward", linear_forward}, pool, ALIGNED, args, shapes({&b}), &reverse);
      const std::lock_guard lock(mutex);
      done++;
      changed.notify_one();
    });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return done == results.size(); });
  for (const auto& result : results) compare(results[0], result);
}

}  // namespace

int main(int count, char** args) {
  if (count != 2 || std::string(args[1]) != twofold_instruction_set()) {
    std::printf("skipped: the kernels chose %s\n", twofold_instruction_set());
    return 0;
  }
  __sanitizer_set_death_callback([] { std::fprintf(stderr, "in %s\n", now.c_str()); });
  at_once();
  for (const Type type : {F32, F64, C64, C128}) {
    large(type);
    for (int i = 0; i < DRAWS; i++) linear(type, any_shape(1 << 15), coin(), coin(), coin());
  }
  for (const Type type : {F32, F64}) {
    for (int i = 0; i < DRAWS; i++) {
      softmax(type, any_shape(1 << 15), coin(), coin());
      const Shape shape = any_shape(1 << 15);
      kv(type, shape, any_of(SIZES), coin(), coin());
      attention(type, any_shape(1 << 12), any_of(SIZES), pick<int64_t>({0, 1, 70}));
      lstm(type, shape.batch, shape.time, shape.dim, coin(), coin());
      gru(type, shape.batch, shape.time, shape.dim, coin(), coin(), coin());
    }
  }
  for (const auto& [name, n] : calls) {
    std::printf("%s: %ld calls, %ld of them on threads\n", name.c_str(), long(n), long(on_threads[name]));
    now = name;
    if (on_threads[name] < 5) fail("too few calls are large enough for threads");
  }
}

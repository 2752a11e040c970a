// All kernels for one instruction set: compiled once for each, TWOFOLD_ISA names which. Nothing of the standard library
// is called here, or a copy of it built for a newer processor could end up in use on an older one.
#include "attention.h"
#include "gru.h"
#include "kernels.h"
#include "kv.h"
#include "linear.h"
#include "lstm.h"
#include "softmax.h"

namespace twofold::TWOFOLD_ISA {

template <class T>
constexpr KernelsOf<T> kernels_of = {
    {linear_forward<T, false>, linear_backward<T, false>},
    {linear_forward<T, true>, linear_backward<T, true>},
    {softmax_weigh<T>, softmax_forward<T>, softmax_effect<T>, softmax_backward<T>},
    {kv_scratch<T>, kv_forward<T>},
    {attention_scratch<T>, attention_forward<T>, attention_backward<T>},
    {packed_size<T>, pack<T>, lstm_forward<T>, lstm_backward<T>, gru_forward<T>, gru_backward<T>},
};

extern const Kernels kernels;
const Kernels kernels = {kernels_of<float>, kernels_of<double>};

}  // namespace twofold::TWOFOLD_ISA

// The choice of an instruction set, at run time: one library serves all processors of an architecture.
#include "handlers.h"

#include <cstdlib>

namespace twofold {

namespace baseline {
extern const Kernels kernels;
}
#if defined(__x86_64__)
namespace v3 {
extern const Kernels kernels;
}
namespace v4 {
extern const Kernels kernels;
}
#endif

namespace {

struct Choice {
  const char* name;
  const Kernels* kernels;
};

Choice choose() {
#if defined(__x86_64__)
  // Tests of the others set this on a processor that has them all. _native.py refuses names that are not known.
  const char* given = std::getenv("TWOFOLD_INSTRUCTION_SET");
  const std::string name = given ? given : "x86-64-v4";
  const int at_most = name == "x86-64-v4" ? 4 : name == "x86-64-v3" ? 3 : 1;
  __builtin_cpu_init();
  const bool has_v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool has_v4 = has_v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (has_v4 && at_most >= 4) return {"x86-64-v4", &v4::kernels};
  if (has_v3 && at_most >= 3) return {"x86-64-v3", &v3::kernels};
  return {"x86-64", &baseline::kernels};
#else
  return {"baseline", &baseline::kernels};
#endif
}

const Choice& chosen() {
  static const Choice choice = choose();
  return choice;
}

}  // namespace

const Kernels& kernels() { return *chosen().kernels; }

}  // namespace twofold

extern "C" {
__attribute__((visibility("default"))) const char* twofold_instruction_set() { return twofold::chosen().name; }
// The version of XLA's interface that the handlers were built for.
__attribute__((visibility("default"))) int twofold_ffi_major() { return XLA_FFI_API_MAJOR; }
__attribute__((visibility("default"))) int twofold_ffi_minor() { return XLA_FFI_API_MINOR; }
}

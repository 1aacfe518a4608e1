/* Which instruction sets this build holds and this machine runs. FC_HAVE_* come from setup.py. */
#ifndef FC_DISPATCH_H
#define FC_DISPATCH_H
#include "isa.h"
#ifdef _OPENMP
#include <omp.h>
#endif

enum { FC_ISAS = 3 };

/* The table of the i-th instruction set, best first; NULL when this build or this machine lacks it. */
static const fc_kernels *fc_isa(int i) {
#if defined(FC_HAVE_AVX2) || defined(FC_HAVE_AVX512)
    __builtin_cpu_init();
#endif
#ifdef FC_HAVE_AVX512
    if (i == 0 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl"))
        return &fc_kernels_avx512;
#endif
#ifdef FC_HAVE_AVX2
    if (i == 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
        && __builtin_cpu_supports("bmi2"))
        return &fc_kernels_avx2;
#endif
    return i == 2 ? &fc_kernels_baseline : (const fc_kernels *)0;
}

static const char *fc_compiler(void) {
#if defined(__VERSION__)
    return __VERSION__;
#else
    return "unknown";
#endif
}

static int fc_openmp(void) {
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}
#endif

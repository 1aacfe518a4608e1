/* The functions of scalar_ops.h in C: those of float from float_math.h, those of double from libm. */
#ifndef FC_SCALAR_MATH_H
#define FC_SCALAR_MATH_H

FC_INLINE float fc_from_bits(int32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
FC_INLINE int32_t fc_to_bits(float x) { int32_t bits; memcpy(&bits, &x, 4); return bits; }

/* One instruction where the set has it; a library call would cost a hundred times as much. */
#if defined(__FMA__) || defined(__FP_FAST_FMAF) || defined(__ARM_FEATURE_FMA)
#define FC_FMA(a, b, c) _Generic((a), float: __builtin_fmaf, double: __builtin_fma)(a, b, c)
#define FC_FMAF __builtin_fmaf
#else
#define FC_FMA(a, b, c) ((a) * (b) + (c))
#define FC_FMAF FC_FMA
#endif

#define FC_FUNCTION FC_INLINE
#define FC_FROM_BITS fc_from_bits
#define FC_TO_BITS fc_to_bits
#include "../../float_math.h"

FC_INLINE double fc_logistic(double x) { return 1 / (1 + exp(-x)); }
FC_INLINE double fc_log1p_exp(double x) { return (x > 0 || x != x ? x : 0) + log1p(exp(-fabs(x))); }

/* Exact (wrapping) powers of integers by squaring; a negative exponent gives the truncated value. */
FC_INLINE int64_t fc_powi(int64_t x, int64_t n) {
    if (n < 0)
        return x == 1 ? 1 : x == -1 ? (n & 1 ? -1 : 1) : 0;
    uint64_t y = 1, square = (uint64_t)x;
    for (; n; n >>= 1, square *= square)
        if (n & 1)
            y *= square;
    return (int64_t)y;
}

/* -1 apart: the smallest integer by it overflows. */
FC_INLINE int64_t fc_modi(int64_t x, int64_t y) { return y == 0 || y == -1 ? 0 : x % y; }

/* The names that scalar_ops.h and the recurrent steps use, by type. */
#define FC_EXP(x) _Generic((x), float: fc_expf, double: exp)(x)
#define FC_LOG(x) _Generic((x), float: fc_logf, double: log)(x)
#define FC_TANH(x) _Generic((x), float: fc_tanhf, double: tanh)(x)
#define FC_ERF(x) _Generic((x), float: fc_erff, double: erf)(x)
#define FC_SIGMOID(x) _Generic((x), float: fc_sigmoidf, double: fc_logistic)(x)
#define FC_SOFTPLUS(x) _Generic((x), float: fc_softplusf, double: fc_log1p_exp)(x)
#define FC_SQRT(x) _Generic((x), float: sqrtf, double: sqrt)(x)
#define FC_FLOOR(x) _Generic((x), float: floorf, double: floor)(x)
#define FC_CEIL(x) _Generic((x), float: ceilf, double: ceil)(x)
#define FC_RINT(x) _Generic((x), float: rintf, double: rint)(x)
#define FC_SIN(x) _Generic((x), float: sinf, double: sin)(x)
#define FC_COS(x) _Generic((x), float: cosf, double: cos)(x)
#define FC_TAN(x) _Generic((x), float: tanf, double: tan)(x)
#define FC_ASIN(x) _Generic((x), float: asinf, double: asin)(x)
#define FC_ACOS(x) _Generic((x), float: acosf, double: acos)(x)
#define FC_ATAN(x) _Generic((x), float: atanf, double: atan)(x)
#define FC_SINH(x) _Generic((x), float: sinhf, double: sinh)(x)
#define FC_COSH(x) _Generic((x), float: coshf, double: cosh)(x)
#define FC_ASINH(x) _Generic((x), float: asinhf, double: asinh)(x)
#define FC_ACOSH(x) _Generic((x), float: acoshf, double: acosh)(x)
#define FC_ATANH(x) _Generic((x), float: atanhf, double: atanh)(x)
#define FC_FMOD(x, y) _Generic((x), float: fmodf, double: fmod, default: fc_modi)(x, y)
#define FC_POW(x, y) _Generic((x), float: powf, double: pow, default: fc_powi)(x, y)
#endif

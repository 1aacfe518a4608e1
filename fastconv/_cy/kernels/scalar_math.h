/* exp, log and tanh of a float without branches or calls, so that loops over them vectorise on every
 * instruction set; within 2 ulp. Doubles go to libm. The coefficients are those of Cephes (Moshier).
 */
#ifndef FC_SCALAR_MATH_H
#define FC_SCALAR_MATH_H

FC_INLINE float fc_from_bits(int32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
FC_INLINE int32_t fc_to_bits(float x) { int32_t bits; memcpy(&bits, &x, 4); return bits; }

/* 1.5 * 2**23: adding it rounds to an integer, which then stands in the low bits. */
#define FC_ROUND 12582912.0f

/* e**x = 2**n * e**r, r in [-log(2)/2, log(2)/2]; the scale in two factors reaches denormals. */
FC_INLINE float fc_expf(float x) {
    float y = x > 89.0f ? 89.0f : x;
    y = y < -104.0f ? -104.0f : y;
    const float shifted = y * 1.44269504088896341f + FC_ROUND;
    const int32_t n = (int32_t)((uint32_t)fc_to_bits(shifted) - 0x4b400000u);
    const float whole = shifted - FC_ROUND;
    const float r = (y - whole * 0.693359375f) - whole * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const int32_t half = n >> 1;
    const float a = fc_from_bits((int32_t)((uint32_t)(half + 127) << 23));
    const float b = fc_from_bits((int32_t)((uint32_t)(n - half + 127) << 23));
    return x != x ? x : p * a * b;
}

/* log(x) = n log(2) + log(m), m in [sqrt(1/2), sqrt(2)). */
FC_INLINE float fc_logf(float x) {
    const int tiny = x < 1.17549435e-38f;
    const float scaled = tiny ? x * 8388608.0f : x;
    const int32_t bits = fc_to_bits(scaled) - 0x3f3504f3;
    const int32_t n = (bits >> 23) - (tiny ? 23 : 0);
    const float m = fc_from_bits((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
    const float z = m * m, e = (float)n;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    p = p * m * z + e * -2.12194440e-4f - 0.5f * z;
    float y = m + p + e * 0.693359375f;
    y = x == 0 ? -INFINITY : y;
    y = x < 0 ? NAN : y;
    y = x == INFINITY ? x : y;
    return x != x ? x : y;
}

FC_INLINE float fc_tanhf(float x) {
    const float a = x < 0 ? -x : x;
    const float z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    p = p * z * x + x;
    const float e = 1.0f - 2.0f / (fc_expf(2.0f * a) + 1.0f);
    return a < 0.625f ? p : x < 0 ? -e : x != x ? x : e;
}

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

/* The names that scalar_ops.h uses, by type. */
#define exp(x) _Generic((x), float: fc_expf, double: exp)(x)
#define log(x) _Generic((x), float: fc_logf, double: log)(x)
#define tanh(x) _Generic((x), float: fc_tanhf, double: tanh)(x)
#define sqrt(x) _Generic((x), float: sqrtf, double: sqrt)(x)
#define FC_POW(x, y) _Generic((x), float: powf, double: pow, default: fc_powi)(x, y)
#endif

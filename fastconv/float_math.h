/* exp, log, tanh, sigmoid, softplus and erf of a float, once for every device.
 *
 * C (_cy/kernels) and OpenCL (cl/kernels) compile this text, so that devices agree to the last bit:
 * a training run turns one differing bit into percents within fifty steps. Nothing here branches or
 * calls, so that loops and work-items vectorise, and every product that meets a sum is an explicit
 * FC_FMAF: what a compiler could contract, one of two would. Within 2.5 ulp everywhere,
 * denormals included; doubles go to the libraries.
 *
 * The includer defines
 *
 *     FC_FUNCTION                 what stands before an inline function
 *     FC_FMAF(a, b, c)            a * b + c of floats, rounded once where the device can
 *     FC_TO_BITS, FC_FROM_BITS    a float's bits as a 32-bit integer, and back
 *
 * Integers are unsigned where they may wrap.
 */
#define FC_ROUND 12582912.0f        /* 1.5 * 2^23: adding it rounds to an integer, in the low bits of the sum */
#define FC_LN2_HIGH 0.693359375f    /* a few bits: its product with an exponent is exact */
#define FC_LN2_LOW -2.12194440e-4f

/* e^x - 1 = 2^n (1 + q) - 1 for x in [-104, 89]: returns q, |q| < 0.42, and n. A NaN stays in q. */
FC_FUNCTION float fc_exp_reduced(float x, int *n)
{
    const float shifted = FC_FMAF(x, 1.44269504088896341f, FC_ROUND);
    const float whole = shifted - FC_ROUND;
    const float r = FC_FMAF(whole, -FC_LN2_LOW, FC_FMAF(whole, -FC_LN2_HIGH, x));
    float p = 1.9875691500e-4f;         /* (e^r - 1 - r) / r^2 (Cephes, Moshier) */
    p = FC_FMAF(p, r, 1.3981999507e-3f);
    p = FC_FMAF(p, r, 8.3334519073e-3f);
    p = FC_FMAF(p, r, 4.1665795894e-2f);
    p = FC_FMAF(p, r, 1.6666665459e-1f);
    p = FC_FMAF(p, r, 5.0000001201e-1f);
    *n = (int)((unsigned)FC_TO_BITS(shifted) - 0x4b400000u);
    return FC_FMAF(p, r * r, r);
}

/* 2^n for n in [-126, 127] */
FC_FUNCTION float fc_power_of_2(int n)
{
    return FC_FROM_BITS((int)((unsigned)(n + 127) << 23));
}

/* e^x, x in [-104, 89], as a product of two factors. Two, because the smallest and largest results
 * need a power of 2 beyond float's; a product, for FC_FMAF to end with. */
FC_FUNCTION float fc_exp_factors(float x, float *scale)
{
    int n;
    const float q = fc_exp_reduced(x, &n);
    const int half_n = n >> 1;
    *scale = fc_power_of_2(n - half_n);
    return (1.0f + q) * fc_power_of_2(half_n);
}

FC_FUNCTION float fc_expf(float x)
{
    float y = x > 89.0f ? 89.0f : x;    /* infinite and 0 beyond; a NaN passes */
    y = y < -104.0f ? -104.0f : y;
    float scale;
    const float e = fc_exp_factors(y, &scale);
    return e * scale;
}

/* 1 / (1 + e^-x), from e^-|x|: it cannot overflow, and small results keep their digits. */
FC_FUNCTION float fc_sigmoidf(float x)
{
    float y = FC_FROM_BITS(FC_TO_BITS(x) | (int)0x80000000u), scale;
    y = y < -104.0f ? -104.0f : y;
    const float e = fc_exp_factors(y, &scale);
    return (x < 0.0f ? e * scale : 1.0f) / FC_FMAF(e, scale, 1.0f);
}

/* (e^2a - 1) / (e^2a + 1), a = |x|; from e^2a - 1, which has all its digits for small a. */
FC_FUNCTION float fc_tanhf(float x)
{
    float a = FC_FROM_BITS(FC_TO_BITS(x) & 0x7fffffff);
    a = a > 10.0f ? 10.0f : a;          /* 1 from 9.02 on */
    int n;
    const float q = fc_exp_reduced(a + a, &n);
    const float scale = fc_power_of_2(n);
    const float e = FC_FMAF(q, scale, scale - 1.0f);
    return FC_FROM_BITS(FC_TO_BITS(e / (e + 2.0f)) | (FC_TO_BITS(x) & (int)0x80000000u));
}

/* log(x) = n log(2) + log(1 + f), 1 + f in [sqrt(1/2), sqrt(2)). */
FC_FUNCTION float fc_logf(float x)
{
    const int tiny = x < 1.17549435e-38f;
    const int bits = FC_TO_BITS(tiny ? x * 8388608.0f : x) - 0x3f3504f3;
    const float n = (float)((bits >> 23) - (tiny ? 23 : 0));
    const float f = FC_FROM_BITS((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
    const float z = f * f;
    float p = 7.0376836292e-2f;         /* (log(1 + f) - f + f^2 / 2) / f^3 (Cephes, Moshier) */
    p = FC_FMAF(p, f, -1.1514610310e-1f);
    p = FC_FMAF(p, f, 1.1676998740e-1f);
    p = FC_FMAF(p, f, -1.2420140846e-1f);
    p = FC_FMAF(p, f, 1.4249322787e-1f);
    p = FC_FMAF(p, f, -1.6668057665e-1f);
    p = FC_FMAF(p, f, 2.0000714765e-1f);
    p = FC_FMAF(p, f, -2.4999993993e-1f);
    p = FC_FMAF(p, f, 3.3333331174e-1f);
    p = FC_FMAF(n, FC_LN2_LOW, p * f * z);
    p = FC_FMAF(z, -0.5f, p);
    float y = FC_FMAF(n, FC_LN2_HIGH, f + p);
    y = x == 0.0f ? -INFINITY : y;
    y = x < 0.0f ? NAN : y;
    return x < INFINITY ? y : x;        /* infinity and NaN stay */
}

/* log(1 + e^x) = max(x, 0) + log(1 + e), e = e^-|x|; the logarithm is of w, 1 + e rounded, and corrected
 * for the rounding (Kahan): log(w) * e / (w - 1). */
FC_FUNCTION float fc_softplusf(float x)
{
    float y = FC_FROM_BITS(FC_TO_BITS(x) | (int)0x80000000u), scale;
    y = y < -104.0f ? -104.0f : y;
    const float e = fc_exp_factors(y, &scale) * scale;
    const float w = 1.0f + e, gap = w - 1.0f;
    const float l = gap == 0.0f ? e : fc_logf(w) * (e / gap);
    return (x > 0.0f || x != x ? x : 0.0f) + l;
}

/* Below 0.93 a polynomial in x^2, above it 1 - e^p(|x|) (after Juffa, 2018, public domain). */
FC_FUNCTION float fc_erff(float x)
{
    const float a = FC_FROM_BITS(FC_TO_BITS(x) & 0x7fffffff);
    const float s = x * x;
    float inner = -5.96761703e-4f;
    inner = FC_FMAF(inner, s, 4.99119423e-3f);
    inner = FC_FMAF(inner, s, -2.67681349e-2f);
    inner = FC_FMAF(inner, s, 1.12819925e-1f);
    inner = FC_FMAF(inner, s, -3.76125336e-1f);
    inner = FC_FMAF(inner, s, 1.28379166e-1f);
    inner = FC_FMAF(inner, x, x);

    const float t = a > 4.0f ? 4.0f : a;        /* 1 from 3.92 on */
    const float u = t * t;
    float p = FC_FMAF(t, -1.72853470e-5f, 3.83197126e-4f);
    p = FC_FMAF(p, u, FC_FMAF(t, -3.88396438e-3f, 2.42546219e-2f));
    p = FC_FMAF(p, t, -1.06777877e-1f);
    p = FC_FMAF(p, t, -6.34846687e-1f);
    p = FC_FMAF(p, t, -1.28717512e-1f);
    p = FC_FMAF(p, t, -t);
    int n;
    const float q = fc_exp_reduced(p, &n);
    const float outer = FC_FMAF(-1.0f - q, fc_power_of_2(n), 1.0f);
    return a > 0.927734375f ? FC_FROM_BITS(FC_TO_BITS(outer) | (FC_TO_BITS(x) & (int)0x80000000u)) : inner;
}

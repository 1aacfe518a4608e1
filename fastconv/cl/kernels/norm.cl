/* Normalisation over the positions of each channel, in three kernels.
 *
 *     norm_sums    one work-item per (chunk, lane, channel): the sums of its positions
 *     norm_end     one per channel: lanes and chunks joined, and every value per channel
 *     norm_apply   one per element: y, or with GRAD the gradient dx
 *
 * Order and expressions are those of reference.norm_order and _cy/kernels/norm.h: they round alike.
 *
 *     GRAD         the gradient; otherwise the statistics
 *     LANES        of norm_order; 2: neighbouring items take neighbouring channels, else positions
 *     PD           dimensions of the positions
 *     RELU, RELU6  the activation;  HAS_WEIGHT, HAS_BIAS, HAS_RUNNING
 *     A            what sums are added in
 */
#ifndef T
#define T float
#define A double
#define HAS_DOUBLE 1
#define INDEX int
#define LANES 2
#define PD 1
#define GRAD
#define RELU
#define HAS_WEIGHT
#define HAS_BIAS
#define HAS_RUNNING
#define GROUP_SIZE 64, 1, 1
#endif
#include "common.h"
#include "fma.h"

#ifdef FUSED
#define FMA_A(a, b, c) fma((A)(a), (A)(b), (A)(c))
#else
#define FMA_A(a, b, c) ((a) * (b) + (c))
#endif

enum { X, Y, G };
enum { MEAN, RSTD, WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR, D_WEIGHT, D_BIAS, VECTORS };

typedef struct {
    INDEX channels, count, chunk, chunks, shape[PD], offset[3], strides[3][PD], step[3];
    INDEX vector_offset[VECTORS], vector_step[VECTORS];
} layout_t;

#define VALUE(name, k, c) (name[layout.vector_offset[k] + (c) * layout.vector_step[k]])

static inline INDEX at(const layout_t *layout, int operand, INDEX position, INDEX channel)
{
    INDEX offset = layout->offset[operand] + channel * layout->step[operand];
    OFFSET(offset, position, PD, layout->shape, layout->strides[operand]);
    return offset;
}

#ifdef HAS_WEIGHT
#define SCALE(c) (VALUE(rstd, RSTD, c) * VALUE(weight, WEIGHT, c))
#else
#define SCALE(c) (VALUE(rstd, RSTD, c))
#endif
#ifdef HAS_BIAS
#define SHIFT(c) VALUE(bias, BIAS, c)
#else
#define SHIFT(c) 0
#endif

static inline T activated(T t)
{
#if defined(RELU) || defined(RELU6)
    t = t < 0 ? 0 : t;
#endif
#ifdef RELU6
    t = t > 6 ? 6 : t;
#endif
    return t;
}

static inline bool passes(T t)
{
#if defined(RELU)
    return t > 0;
#elif defined(RELU6)
    return t > 0 && t < 6;
#else
    return true;
#endif
}

KERNEL void norm_sums(const layout_t layout, __global A *partial, __global const T *x, __global const T *g,
                      __global const T *mean, __global const T *rstd, __global const T *weight, __global const T *bias)
{
    INDEX item = get_global_id(0);
    if (item >= layout.chunks * LANES * layout.channels)
        return;
#if LANES == 2
    const INDEX channel = item % layout.channels, lane = item / layout.channels % LANES;
#else
    const INDEX lane = item % LANES, channel = item / LANES % layout.channels;
#endif
    const INDEX chunk = item / LANES / layout.channels;
    const INDEX last = min((chunk + 1) * layout.chunk, layout.count);
#ifdef GRAD
    const T m = VALUE(mean, MEAN, channel), scale = SCALE(channel), shift = SHIFT(channel);
    const A centre = m;
#else
    const A centre = x[at(&layout, X, 0, channel)];
#endif
    A sum0 = 0, sum1 = 0;
    for (INDEX p = chunk * layout.chunk + lane; p < last; p += LANES) {
        const T value = x[at(&layout, X, p, channel)];
        const A d = value - centre;
#ifdef GRAD
        const A v = passes(FC_FMA(value - m, scale, shift)) ? g[at(&layout, G, p, channel)] : 0;
#else
        const A v = d;
#endif
        sum0 += v;
        sum1 = FMA_A(v, d, sum1);
    }
    partial[((chunk * 2 + 0) * LANES + lane) * layout.channels + channel] = sum0;
    partial[((chunk * 2 + 1) * LANES + lane) * layout.channels + channel] = sum1;
}

/* The q-th sum of a channel. */
static inline A joined(const layout_t *layout, __global const A *partial, int q, INDEX channel)
{
    A total = 0;
    for (INDEX chunk = 0; chunk < layout->chunks; chunk++) {
        A lanes[LANES];
        for (int l = 0; l < LANES; l++)
            lanes[l] = partial[((chunk * 2 + q) * LANES + l) * layout->channels + channel];
        for (int span = LANES / 2; span; span /= 2)
            for (int l = 0; l < span; l++)
                lanes[l] += lanes[l + span];
        total = chunk ? total + lanes[0] : lanes[0];
    }
    return total;
}

#ifdef GRAD
/* g_mean[c] and, `channels` further on, the slope */
KERNEL void norm_end(const layout_t layout, __global const A *partial, __global const T *rstd, __global T *d_weight,
                     __global T *d_bias, __global T *values)
{
    const INDEX c = get_global_id(0);
    if (c >= layout.channels)
        return;
    const A sum_g = joined(&layout, partial, 0, c), sum_gx = joined(&layout, partial, 1, c);
    const A r = VALUE(rstd, RSTD, c), n = layout.count;
    VALUE(d_bias, D_BIAS, c) = sum_g;
    VALUE(d_weight, D_WEIGHT, c) = sum_gx * r;
    values[c] = sum_g / n;
    values[layout.channels + c] = sum_gx * r * r / n;
}
#else
KERNEL void norm_end(const layout_t layout, __global const A *partial, __global const T *x, __global T *mean,
                     __global T *rstd, __global T *running_mean, __global T *running_var, const T momentum, const A eps)
{
    const INDEX c = get_global_id(0);
    if (c >= layout.channels)
        return;
    const A sum = joined(&layout, partial, 0, c), squares = joined(&layout, partial, 1, c), n = layout.count;
    A var = (squares - sum * sum / n) / n;
    var = var < 0 ? 0 : var;
    const T m = (A)x[at(&layout, X, 0, c)] + sum / n;
    VALUE(mean, MEAN, c) = m;
    VALUE(rstd, RSTD, c) = 1 / sqrt(var + eps);
#ifdef HAS_RUNNING
    const T unbias = n / (n > 1 ? n - 1 : 1), before = VALUE(running_var, RUNNING_VAR, c);
    VALUE(running_mean, RUNNING_MEAN, c) = FC_FMA(m - VALUE(running_mean, RUNNING_MEAN, c), momentum,
                                                  VALUE(running_mean, RUNNING_MEAN, c));
    VALUE(running_var, RUNNING_VAR, c) = FC_FMA(FC_FMA((T)var, unbias, -before), momentum, before);
#endif
}
#endif

KERNEL void norm_apply(const layout_t layout, __global T *y, __global const T *x, __global const T *g,
                       __global const T *mean, __global const T *rstd, __global const T *weight, __global const T *bias,
                       __global const T *values)
{
    const INDEX i = get_global_id(0);
    if (i >= layout.count * layout.channels)
        return;
#if LANES == 2
    const INDEX c = i % layout.channels, p = i / layout.channels;
#else
    const INDEX p = i % layout.count, c = i / layout.count;
#endif
    const T m = VALUE(mean, MEAN, c), scale = SCALE(c), value = x[at(&layout, X, p, c)];
    const T t = FC_FMA(value - m, scale, SHIFT(c));
#ifdef GRAD
    const T passing = passes(t) ? g[at(&layout, G, p, c)] : 0;
    y[at(&layout, Y, p, c)] = scale * FC_FMA(m - value, values[layout.channels + c], passing - values[c]);
#else
    y[at(&layout, Y, p, c)] = activated(t);
#endif
}

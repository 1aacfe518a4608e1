/* Reductions: sum, prod, max, min, and the sums of moments and of normalisation gradients.
 *
 * A work-item (or, with LANES > 1, a group that strides together through a contiguous row) reduces
 * one part of what belongs to an output, or to V neighbouring outputs, in a fixed order. With one
 * part it writes the output; otherwise `combine` adds the parts, in a fixed order too.
 *
 *     TERM_SUM, TERM_PROD, TERM_MAX, TERM_MIN   of x0
 *     TERM_SQUARES                  of d*d and of d = x0 - mean; the output is the variance
 *     TERM_PRODUCTS                 of x0 and of x0 * (x1 - mean): two outputs
 *     ROW      V elements of a row at a time, folded at the end; otherwise V neighbouring outputs
 *     A        accumulator type; COMPENSATED: a sum carries its rounding errors along in a second A,
 *              so that no order shows in a float. Products are rounded before they are added (fma.h)
 *     KD, RD   kept and reduced dimensions;  INPUTS, SUMS  number of inputs and of accumulators
 *     PARTIAL  write accumulators to `partial` for `combine`
 */
#ifndef T
#define T float
#define A double
#define HAS_DOUBLE 1
#define INDEX int
#define TERM_SUM
#define ROW 1
#define V 4
#define LANES 64
#define KD 1
#define RD 1
#define INPUTS 1
#define SUMS 1
#define PARTIAL 1
#define GROUP_SIZE 64, 1, 1
#endif
#include "common.h"
#include "fma.h"

typedef struct {
    INDEX outputs, outer, inner, outer_parts, outer_chunk, inner_parts, inner_chunk;
    INDEX kept_shape[KD], kept_strides[5][KD];          /* out0, out1, mean, x0, x1 */
    INDEX reduced_shape[RD], reduced_strides[2][RD];    /* x0, x1 */
    INDEX offset[5];
} layout_t;

enum { OUT0, OUT1, MEAN, X0, X1 };

#define VT VECTOR(T)
#define VA VECTOR(A)

static inline INDEX kept_offset(const layout_t *layout, INDEX output, int k)
{
    INDEX offset = layout->offset[k];
    for (int d = KD - 1; d >= 0; d--) {
        offset += output % layout->kept_shape[d] * layout->kept_strides[k][d];
        output /= layout->kept_shape[d];
    }
    return offset;
}

static inline INDEX outer_offset(const layout_t *layout, INDEX o, int k)
{
    INDEX offset = 0;
    for (int d = RD - 2; d >= 0; d--) {
        offset += o % layout->reduced_shape[d] * layout->reduced_strides[k][d];
        o /= layout->reduced_shape[d];
    }
    return offset;
}

/* --- accumulators, V wide and single --------------------------------------------------------- */

#if defined(TERM_MAX)
#define COMBINE(s, x) ((x) > (s) || (x) != (x) ? (x) : (s))
#define COMBINE_V(s, x) (((x) > (s)) | ((x) != (x)) ? (x) : (s))
#elif defined(TERM_MIN)
#define COMBINE(s, x) ((x) < (s) || (x) != (x) ? (x) : (s))
#define COMBINE_V(s, x) (((x) < (s)) | ((x) != (x)) ? (x) : (s))
#elif defined(TERM_PROD)
#define COMBINE(s, x) ((s) * (x))
#define COMBINE_V COMBINE
#else
#define COMBINE(s, x) ((s) + (x))
#define COMBINE_V COMBINE
#endif

#ifdef COMPENSATED
typedef struct { A s, c; } sum_t;
typedef struct { VA s, c; } sums_t;
/* Knuth's two-sum: t + error is s + x exactly. */
#define TWO_SUM(type, sum, x) do { \
    const type v_ = (x), t = (sum).s + v_, z = t - (sum).s; \
    (sum).c += ((sum).s - (t - z)) + (v_ - z); \
    (sum).s = t; } while (0)
#define ADD_TO(sum, x) TWO_SUM(VA, sum, x)
#define ADD_ONE(sum, x) TWO_SUM(A, sum, x)
#define MERGE(sum, other) do { ADD_ONE(sum, (other).s); (sum).c += (other).c; } while (0)
/* An infinite sum has a compensation of NaN. */
#define VALUE(sum) ((sum).s - (sum).s == 0 ? (sum).s + (sum).c : (sum).s)
#else
typedef struct { A s; } sum_t;
typedef struct { VA s; } sums_t;
#define ADD_ONE(sum, x) ((sum).s = COMBINE((sum).s, x))
#if !defined(V) || V == 1
#define ADD_TO ADD_ONE
#else
#define ADD_TO(sum, x) ((sum).s = COMBINE_V((sum).s, x))
#endif
#define MERGE(sum, other) ADD_ONE(sum, (other).s)
#define VALUE(sum) ((sum).s)
#endif

static inline sum_t nothing(void)
{
    sum_t sum;
#ifdef COMPENSATED
    sum.c = 0;
#endif
#if defined(TERM_MAX) || defined(TERM_MIN)
    sum.s = NOTHING;
#elif defined(TERM_PROD)
    sum.s = 1;
#else
    sum.s = 0;
#endif
    return sum;
}

static inline void start(sums_t *sums)
{
    for (int k = 0; k < SUMS; k++) {
        const sum_t none = nothing();
        sums[k].s = none.s;
#ifdef COMPENSATED
        sums[k].c = none.c;
#endif
    }
}

/* --- one step -------------------------------------------------------------------------------- */

#if defined(TERM_SQUARES)
#define STEP(add, sums, x0, x1, mean) do { add(sums[0], ((x0) - (mean)) * ((x0) - (mean))); add(sums[1], (x0) - (mean)); } while (0)
#elif defined(TERM_PRODUCTS)
#define STEP(add, sums, x0, x1, mean) do { add(sums[0], x0); add(sums[1], (x0) * ((x1) - (mean))); } while (0)
#else
#define STEP(add, sums, x0, x1, mean) add(sums[0], x0)
#endif

/* --- the end of an output -------------------------------------------------------------------- */

static inline void finish(const layout_t *layout, INDEX output, const sum_t *sums, A count,
                          __global T *out0, __global T *out1)
{
    const INDEX at = kept_offset(layout, output, OUT0);
#if defined(TERM_SQUARES)
    const A drift = VALUE(sums[1]);         /* of the mean that was rounded to T */
    out0[at] = (VALUE(sums[0]) - drift * drift / count) / count;
#elif defined(TERM_PRODUCTS)
    out0[at] = VALUE(sums[0]);
    out1[kept_offset(layout, output, OUT1)] = VALUE(sums[1]);
#elif defined(TERM_MEAN)
    out0[at] = VALUE(sums[0]) / count;
#else
    out0[at] = VALUE(sums[0]);
#endif
}

/* The lanes of a group hold parts of one output: add them up as a fixed tree. */
#if LANES > 1
static inline void fold_lanes(sum_t *sums, __local sum_t *scratch)
{
    const int lane = get_local_id(0);
    for (int k = 0; k < SUMS; k++) {
        scratch[lane] = sums[k];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int span = LANES / 2; span; span /= 2) {
            if (lane < span) {
                sum_t mine = scratch[lane];
                const sum_t other = scratch[lane + span];
                MERGE(mine, other);
                scratch[lane] = mine;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        sums[k] = scratch[0];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}
#endif

static inline sum_t lane_of(const sums_t *sums, int lane)
{
#if !defined(V) || V == 1
    sum_t one;
    one.s = sums->s;
#ifdef COMPENSATED
    one.c = sums->c;
#endif
#else
    sum_t one;
    one.s = ((const A *)&sums->s)[lane];
#ifdef COMPENSATED
    one.c = ((const A *)&sums->c)[lane];
#endif
#endif
    return one;
}

KERNEL void reduce(const layout_t layout, __global T *out0, __global T *out1, __global sum_t *partial,
                   __global const T *x0, __global const T *x1, __global const T *mean, const A count)
{
    const INDEX parts = layout.outer_parts * layout.inner_parts;
#if ROW
    /* item = (output, part) */
    const INDEX item = (INDEX)get_global_id(0) / LANES, part = item % parts, output = item / parts;
    const int lane = LANES > 1 ? (int)get_local_id(0) : 0;
    const bool inside = output < layout.outputs;
#else
    /* item = (part, V outputs): neighbours read neighbouring memory */
    const INDEX blocks = layout.outputs / V, item = get_global_id(0);
    const INDEX part = item / blocks, output = item % blocks * V;
    const bool inside = part < parts;
#endif
    sums_t sums[SUMS];
    start(sums);
#if ROW
    sum_t tail[SUMS];
    for (int k = 0; k < SUMS; k++)
        tail[k] = nothing();
#endif
    if (inside) {
        const INDEX first = part / layout.inner_parts * layout.outer_chunk;
        const INDEX last = min(first + layout.outer_chunk, layout.outer);
        const INDEX from = part % layout.inner_parts * layout.inner_chunk;
        const INDEX to = min(from + layout.inner_chunk, layout.inner);
        const INDEX base0 = kept_offset(&layout, output, X0);
#if INPUTS > 1
        const INDEX base1 = kept_offset(&layout, output, X1);
#endif
#if defined(TERM_SQUARES) || defined(TERM_PRODUCTS)
#if ROW
        const A m = mean[kept_offset(&layout, output, MEAN)];
#else
        VA m;
        for (int v = 0; v < V; v++)
            ((A *)&m)[v] = mean[kept_offset(&layout, output + v, MEAN)];
#endif
#endif
        for (INDEX o = first; o < last; o++) {
            __global const T *p0 = x0 + (base0 + outer_offset(&layout, o, 0));
#if INPUTS > 1
            __global const T *p1 = x1 + (base1 + outer_offset(&layout, o, 1));
#else
            __global const T *p1 = p0;
#endif
#if ROW
            INDEX i = from + lane * V;
            for (; i + V <= to; i += LANES * V)
                STEP(ADD_TO, sums, CONVERT(A, LOAD(p0 + i)), CONVERT(A, LOAD(p1 + i)), m);
            /* the incomplete vector at the end belongs to one lane */
            for (const INDEX end = min(to, i + V); i < end; i++)
                STEP(ADD_ONE, tail, (A)p0[i], (A)p1[i], m);
#else
            const INDEX s0 = layout.reduced_strides[0][RD - 1], s1 = layout.reduced_strides[1][RD - 1];
            for (INDEX i = from; i < to; i++)
                STEP(ADD_TO, sums, CONVERT(A, LOAD(p0 + i * s0)), CONVERT(A, LOAD(p1 + i * s1)), m);
#endif
        }
    }
#if ROW
    for (int k = 0; k < SUMS; k++)
        for (int v = 0; v < V; v++) {
            const sum_t one = lane_of(&sums[k], v);
            MERGE(tail[k], one);
        }
#if LANES > 1
    __local sum_t scratch[LANES];
    fold_lanes(tail, scratch);
    if (lane)
        return;
#endif
    if (!inside)
        return;
#ifdef PARTIAL
    for (int k = 0; k < SUMS; k++)
        partial[(k * layout.outputs + output) * parts + part] = tail[k];
#else
    finish(&layout, output, tail, count, out0, out1);
#endif
#else
    if (!inside)
        return;
    for (int v = 0; v < V; v++) {
        sum_t one[SUMS];
        for (int k = 0; k < SUMS; k++)
            one[k] = lane_of(&sums[k], v);
#ifdef PARTIAL
        for (int k = 0; k < SUMS; k++)
            partial[(k * layout.outputs + output + v) * parts + part] = one[k];
#else
        finish(&layout, output + v, one, count, out0, out1);
#endif
    }
#endif
}

/* Add up the parts of every output: LANES items for each. */
KERNEL void combine(const layout_t layout, __global T *out0, __global T *out1,
                    __global const sum_t *partial, const A count)
{
    const INDEX parts = layout.outer_parts * layout.inner_parts;
    const INDEX output = (INDEX)get_global_id(0) / LANES;
    const int lane = LANES > 1 ? (int)get_local_id(0) : 0;
    sum_t sums[SUMS];
    for (int k = 0; k < SUMS; k++) {
        sums[k] = nothing();
        for (INDEX part = lane; part < parts; part += LANES) {
            const sum_t one = partial[(k * layout.outputs + output) * parts + part];
            MERGE(sums[k], one);
        }
    }
#if LANES > 1
    __local sum_t scratch[LANES];
    fold_lanes(sums, scratch);
    if (lane)
        return;
#endif
    finish(&layout, output, sums, count, out0, out1);
}

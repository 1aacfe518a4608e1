/* Reductions: sum, prod, max, min.
 *
 * A work-item (or, with LANES > 1, a group that strides together through a row) reduces one part of
 * what belongs to an output, or to V neighbouring outputs, in a fixed order. With one part it writes
 * the output; otherwise `combine` joins the parts, in a fixed order too. Parts, lanes and vectors of
 * float32 sums are those of reference.sum_order: element i of a row goes to lane i % (LANES * V).
 *
 *     TERM_SUM, TERM_PROD, TERM_MAX, TERM_MIN
 *     ORDERED  a sum of float32: a row's last, incomplete vector fills its lanes too
 *     ROW      V elements of a row at a time, folded at the end; otherwise V neighbouring outputs
 *     STEP     the elements of a row do not lie side by side
 *     A        accumulator type; COMPENSATED: a sum carries its rounding errors along in a second A
 *     KD, RD   kept and reduced dimensions
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
#define PARTIAL 1
#define GROUP_SIZE 64, 1, 1
#endif
#include "common.h"
#include "fma.h"

typedef struct {
    INDEX outputs, outer, inner, outer_parts, outer_chunk, inner_parts, inner_chunk;
    INDEX kept_shape[KD], kept_strides[2][KD];          /* out, x */
    INDEX reduced_shape[RD], reduced_strides[RD];
    INDEX offset[2];
} layout_t;

enum { OUT, X };

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

static inline INDEX outer_offset(const layout_t *layout, INDEX o)
{
    INDEX offset = 0;
    for (int d = RD - 2; d >= 0; d--) {
        offset += o % layout->reduced_shape[d] * layout->reduced_strides[d];
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

static inline sums_t nothing(void)
{
    sums_t sums;
#ifdef COMPENSATED
    sums.c = 0;
#endif
#if defined(TERM_MAX) || defined(TERM_MIN)
    sums.s = NOTHING;
#elif defined(TERM_PROD)
    sums.s = 1;
#else
    sums.s = 0;
#endif
    return sums;
}

static inline sum_t lane_of(const sums_t *sums, int lane)
{
    sum_t one;
    one.s = ((const A *)&sums->s)[lane];
#ifdef COMPENSATED
    one.c = ((const A *)&sums->c)[lane];
#endif
    return one;
}

/* The V lanes of a vector as one: ORDERED by halves, others (PoCL 3.1 gets those of integers wrong) in turn, after `tail`. */
static inline sum_t folded(const sums_t *sums, sum_t tail)
{
#ifdef ORDERED
    sum_t lanes[V];
    for (int v = 0; v < V; v++)
        lanes[v] = lane_of(sums, v);
    for (int span = V / 2; span; span /= 2)
        for (int v = 0; v < span; v++)
            MERGE(lanes[v], lanes[v + span]);
    return lanes[0];
#else
    for (int v = 0; v < V; v++) {
        const sum_t one = lane_of(sums, v);
        MERGE(tail, one);
    }
    return tail;
#endif
}

/* The lanes of a group hold parts of one output: add them up by halves. */
#if LANES > 1
static inline sum_t fold_lanes(sum_t mine, __local sum_t *scratch)
{
    const int lane = get_local_id(0);
    scratch[lane] = mine;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int span = LANES / 2; span; span /= 2) {
        if (lane < span) {
            sum_t sum = scratch[lane];
            const sum_t other = scratch[lane + span];
            MERGE(sum, other);
            scratch[lane] = sum;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    return scratch[0];
}
#endif

/* V elements of a row from i on. */
static inline VA loaded(__global const T *p, INDEX i, INDEX step)
{
#ifdef STEP
    VA values;
    for (int v = 0; v < V; v++)
        ((A *)&values)[v] = p[(i + v) * step];
    return values;
#else
    return CONVERT(A, LOAD(p + i));
#endif
}

KERNEL void reduce(const layout_t layout, __global T *out, __global sum_t *partial, __global const T *x)
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
    sums_t sums = nothing();
#if ROW
    sum_t tail = lane_of(&sums, 0);
#endif
    if (inside) {
        const INDEX first = part / layout.inner_parts * layout.outer_chunk;
        const INDEX last = min(first + layout.outer_chunk, layout.outer);
        const INDEX from = part % layout.inner_parts * layout.inner_chunk;
        const INDEX to = min(from + layout.inner_chunk, layout.inner);
        const INDEX base = kept_offset(&layout, output, X), step = layout.reduced_strides[RD - 1];
        for (INDEX o = first; o < last; o++) {
            __global const T *p = x + (base + outer_offset(&layout, o));
#if ROW
            INDEX i = from + lane * V;
            for (; i + V <= to; i += LANES * V)
                ADD_TO(sums, loaded(p, i, step));
            /* the incomplete vector at the end */
#ifdef ORDERED
            if (i < to) {
                VA rest;
                for (int v = 0; v < V; v++)
                    ((A *)&rest)[v] = i + v < to ? p[(i + v) * step] : 0;
                ADD_TO(sums, rest);
            }
#else
            for (const INDEX end = min(to, i + V); i < end; i++)
                ADD_ONE(tail, (A)p[i * step]);
#endif
#else
            for (INDEX i = from; i < to; i++)
                ADD_TO(sums, CONVERT(A, LOAD(p + i * step)));
#endif
        }
    }
#if ROW
    sum_t total = folded(&sums, tail);
#if LANES > 1
    __local sum_t scratch[LANES];
    total = fold_lanes(total, scratch);
    if (lane)
        return;
#endif
    if (!inside)
        return;
#ifdef PARTIAL
    partial[output * parts + part] = total;
#else
    out[kept_offset(&layout, output, OUT)] = VALUE(total);
#endif
#else
    if (!inside)
        return;
    for (int v = 0; v < V; v++) {
        const sum_t one = lane_of(&sums, v);
#ifdef PARTIAL
        partial[(output + v) * parts + part] = one;
#else
        out[kept_offset(&layout, output + v, OUT)] = VALUE(one);
#endif
    }
#endif
}

/* Join the parts of every output, one after another. */
KERNEL void combine(const layout_t layout, __global T *out, __global const sum_t *partial)
{
    const INDEX parts = layout.outer_parts * layout.inner_parts, output = get_global_id(0);
    if (output >= layout.outputs)
        return;
    sum_t total = partial[output * parts];
    for (INDEX part = 1; part < parts; part++) {
        const sum_t one = partial[output * parts + part];
        MERGE(total, one);
    }
    out[kept_offset(&layout, output, OUT)] = VALUE(total);
}

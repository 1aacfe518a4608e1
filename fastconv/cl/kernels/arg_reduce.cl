/* argmax and argmin along one axis: the first extremum, and the first NaN before everything.
 *
 * A work-item looks at one part of the axis for one output; `combine` compares the parts in order.
 *
 *     BETTER   > or <        KD  kept dimensions
 */
#ifndef T
#define T float
#define INDEX int
#define BETTER >
#define KD 1
#define GROUP_SIZE 64, 1, 1
#endif
#include "common.h"

typedef struct {
    INDEX outputs, length, parts, chunk, step;
    INDEX kept_shape[KD], kept_strides[2][KD];      /* out, x */
    INDEX offset[2];
} layout_t;

static inline INDEX kept_offset(const layout_t *layout, INDEX output, int k)
{
    INDEX offset = layout->offset[k];
    for (int d = KD - 1; d >= 0; d--) {
        offset += output % layout->kept_shape[d] * layout->kept_strides[k][d];
        output /= layout->kept_shape[d];
    }
    return offset;
}

static inline bool beats(T x, T best)
{
    return x BETTER best || (x != x && best == best);
}

KERNEL void arg_reduce(const layout_t layout, __global long *out, __global long *partial, __global const T *x)
{
    const INDEX item = get_global_id(0), output = item % layout.outputs, part = item / layout.outputs;
    if (part >= layout.parts)
        return;
    __global const T *row = x + kept_offset(&layout, output, 1);
    const INDEX first = part * layout.chunk, last = min(first + layout.chunk, layout.length);
    INDEX at = first;
    T best = row[first * layout.step];
    for (INDEX i = first + 1; i < last; i++) {
        const T value = row[i * layout.step];
        if (beats(value, best)) {
            best = value;
            at = i;
        }
    }
    if (layout.parts > 1)
        partial[output * layout.parts + part] = at;
    else
        out[kept_offset(&layout, output, 0)] = at;
}

KERNEL void combine(const layout_t layout, __global long *out, __global const long *partial, __global const T *x)
{
    const INDEX output = get_global_id(0);
    if (output >= layout.outputs)
        return;
    __global const T *row = x + kept_offset(&layout, output, 1);
    long at = partial[output * layout.parts];
    for (INDEX part = 1; part < layout.parts; part++) {
        const long other = partial[output * layout.parts + part];
        if (beats(row[other * layout.step], row[at * layout.step]))
            at = other;
    }
    out[kept_offset(&layout, output, 0)] = at;
}

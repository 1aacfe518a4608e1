/* Pooling: one work-item per element of out, which looks at all taps of its window in their order.
 *
 *     image    what the windows lie on: x, or out of max_pool_grad
 *     windows  one element per window: out, index and g (g only in max_pool_grad)
 *     C_LAST   neighbouring work-items take neighbouring channels, otherwise neighbouring columns
 *     A        what window_sum adds in
 */
#ifndef T
#define T float
#define A double
#define HAS_DOUBLE 1
#define INDEX int
#define C_LAST
#define GROUP_SIZE 64, 1, 1
#endif
#include "common.h"

typedef struct {
    INDEX items, batch, channels, image[3], windows[3];     /* sizes */
    INDEX window[3], stride[3], padding[3], dilation[3];
    INDEX out_offset, out_n, out_step[3], out_c;
    INDEX in_offset, in_n, in_step[3], in_c;                /* x, or g of max_pool_grad */
    INDEX index_offset, index_n, index_step[3], index_c;
} pool_t;

typedef struct { INDEX n, c, at[3]; } place_t;

static inline place_t locate(INDEX i, const pool_t *layout, const INDEX *size)
{
    place_t place;
#ifdef C_LAST
    place.c = i % layout->channels;
    i /= layout->channels;
#endif
    for (int d = 2; d >= 0; d--) {
        place.at[d] = i % size[d];
        i /= size[d];
    }
#ifndef C_LAST
    place.c = i % layout->channels;
    i /= layout->channels;
#endif
    place.n = i;
    return place;
}

#define AT(name, place, p) (layout.name##_offset + (place).n * layout.name##_n + (place).c * layout.name##_c \
    + (p)[0] * layout.name##_step[0] + (p)[1] * layout.name##_step[1] + (p)[2] * layout.name##_step[2])

#define FOR_TAPS(tap) for (INDEX number = 0, tap##0 = 0; tap##0 < layout.window[0]; tap##0++) \
    for (INDEX tap##1 = 0; tap##1 < layout.window[1]; tap##1++) \
        for (INDEX tap##2 = 0; tap##2 < layout.window[2]; tap##2++, number++)

/* The element of the image that a tap of a window looks at; false when there is none. */
static inline bool look(const pool_t *layout, const INDEX *window, INDEX tap0, INDEX tap1, INDEX tap2, INDEX *pixel)
{
    const INDEX tap[3] = {tap0, tap1, tap2};
    bool inside = true;
    for (int d = 0; d < 3; d++) {
        pixel[d] = window[d] * layout->stride[d] - layout->padding[d] + tap[d] * layout->dilation[d];
        inside &= (pixel[d] >= 0) & (pixel[d] < layout->image[d]);
    }
    return inside;
}

#ifdef MAX_POOL
KERNEL void max_pool(const pool_t layout, __global T *out, __global int *index, __global const T *x)
{
    if (get_global_id(0) >= (size_t)layout.items)
        return;
    const place_t place = locate(get_global_id(0), &layout, layout.windows);
    T best = -INFINITY;
    int which = 0;
    bool first = true;
    FOR_TAPS(tap) {
        INDEX pixel[3];
        if (!look(&layout, place.at, tap0, tap1, tap2, pixel))
            continue;
        const T value = x[AT(in, place, pixel)];
        if (first || value > best || (value != value && best == best)) {
            best = value;
            which = number;
            first = false;
        }
    }
    out[AT(out, place, place.at)] = best;
    index[AT(index, place, place.at)] = which;
}
#endif

#ifdef MAX_POOL_GRAD
KERNEL void max_pool_grad(const pool_t layout, __global T *out, __global const T *g, __global const int *index)
{
    if (get_global_id(0) >= (size_t)layout.items)
        return;
    const place_t place = locate(get_global_id(0), &layout, layout.image);
    T sum = 0;
    FOR_TAPS(tap) {
        /* the window whose tap this element is, if there is one */
        const INDEX tap[3] = {tap0, tap1, tap2};
        INDEX window[3];
        bool inside = true;
        for (int d = 0; d < 3; d++) {
            const INDEX start = place.at[d] + layout.padding[d] - tap[d] * layout.dilation[d];
            window[d] = start / layout.stride[d];
            inside &= (start >= 0) & (window[d] * layout.stride[d] == start) & (window[d] < layout.windows[d]);
        }
        if (inside && index[AT(index, place, window)] == (int)number)
            sum += g[AT(in, place, window)];
    }
    out[AT(out, place, place.at)] = sum;
}
#endif

#ifdef MAX_POOL_PICK
KERNEL void max_pool_pick(const pool_t layout, __global T *out, __global const T *x, __global const int *index)
{
    if (get_global_id(0) >= (size_t)layout.items)
        return;
    const place_t place = locate(get_global_id(0), &layout, layout.windows);
    INDEX tap = index[AT(index, place, place.at)], pixel[3];
    const INDEX tap2 = tap % layout.window[2], tap1 = tap / layout.window[2] % layout.window[1];
    const INDEX tap0 = tap / layout.window[2] / layout.window[1];
    const bool inside = look(&layout, place.at, tap0, tap1, tap2, pixel);
    out[AT(out, place, place.at)] = inside ? x[AT(in, place, pixel)] : 0;
}
#endif

#ifdef WINDOW_SUM
KERNEL void window_sum(const pool_t layout, __global T *out, __global const T *x)
{
    if (get_global_id(0) >= (size_t)layout.items)
        return;
    const place_t place = locate(get_global_id(0), &layout, layout.windows);
    A sum = 0;
    FOR_TAPS(tap) {
        INDEX pixel[3];
        if (look(&layout, place.at, tap0, tap1, tap2, pixel))
            sum += x[AT(in, place, pixel)];
    }
    out[AT(out, place, place.at)] = sum;
}
#endif

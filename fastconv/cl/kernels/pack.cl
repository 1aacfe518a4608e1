/* pack: any strided (k, col) matrix, one per group, as panels[group][col / PANEL][k][PANEL], with
 * zeros behind the last column. The products then read whole vectors, next to each other.
 *
 *     GD          group dimensions       COL_STEP_1  w is contiguous along columns
 */
#ifndef T
#define T float
#define INDEX int
#define V 4
#define PANEL 64
#define GD 1
#define GROUP_SIZE 64, 1, 1
#endif
#include "common.h"

#define KD 4
#define VT VECTOR(T)

typedef struct {
    INDEX size, k, cols, blocks;
    INDEX k_shape[KD], k_strides[KD], group_shape[GD], group_strides[GD], col_step, offset;
} pack_t;

/* An item writes one vector: V columns at one k. */
KERNEL void pack(const pack_t layout, __global T *panels, __global const T *w)
{
    const INDEX i = get_global_id(0);
    if (i >= layout.size)
        return;
    const INDEX vector = i % (PANEL / V), row = i / (PANEL / V), k = row % layout.k;
    const INDEX block = row / layout.k, group = block / layout.blocks;
    const INDEX col = block % layout.blocks * PANEL + vector * V;
    INDEX at = layout.offset + col * layout.col_step;
    OFFSET(at, k, KD, layout.k_shape, layout.k_strides);
    OFFSET(at, group, GD, layout.group_shape, layout.group_strides);
    __global const T *from = w + at;
    VT value;
#ifdef COL_STEP_1
    if (col + V <= layout.cols)
        value = LOAD(from);
    else
#endif
    {
        T values[V];
        #pragma unroll
        for (int v = 0; v < V; v++)
            values[v] = col + v < layout.cols ? from[v * layout.col_step] : 0;
        value = LOAD(values);
    }
    STORE(value, panels + (long)i * V);
}

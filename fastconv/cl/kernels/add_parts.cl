/* out = the sum of partial[part], one after another: the chunks of a weight gradient in the order of
 * the contract. partial is dense, out strided; an item adds V neighbouring columns.
 *
 *     OUT_STEP_1   out is contiguous along columns
 */
#ifndef T
#define T float
#define INDEX int
#define V 4
#define GROUP_SIZE 64, 1, 1
#endif
#include "common.h"

#define VT VECTOR(T)
#define ROWS 5              /* dimensions of the rows: group, taps, channels */

typedef struct {
    INDEX vectors, cols, size, parts, shape[ROWS], strides[ROWS + 1], offset;
} parts_t;

KERNEL void add_parts(const parts_t layout, __global T *out, __global const T *partial)
{
    const INDEX i = get_global_id(0), row_vectors = (layout.cols + V - 1) / V;
    if (i >= layout.vectors)
        return;
    const INDEX row = i / row_vectors, col = i % row_vectors * V;
    const int columns = (int)min((INDEX)V, layout.cols - col);
    INDEX to = layout.offset + col * layout.strides[ROWS];
    OFFSET(to, row, ROWS, layout.shape, layout.strides);
    __global const T *from = partial + (row * (long)layout.cols + col);
    T values[V];
    if (columns == V) {
        VT sum = LOAD(from);
        for (INDEX part = 1; part < layout.parts; part++)
            sum += LOAD(from + part * (long)layout.size);
#ifdef OUT_STEP_1
        STORE(sum, out + to);
        return;
#endif
        STORE(sum, values);
    } else {
        for (int v = 0; v < columns; v++) {
            values[v] = from[v];
            for (INDEX part = 1; part < layout.parts; part++)
                values[v] += from[v + part * (long)layout.size];
        }
    }
    for (int v = 0; v < columns; v++)
        out[to + v * layout.strides[ROWS]] = values[v];
}

/* Rows by index: take, put, scatter-add, and the product with a sparse matrix in CSR form. A is what
 * scattered sums add in.
 */
#ifndef T
#define T float
#define A float
#define INDEX int
#define GROUP_SIZE 64, 1, 1
#endif
#include "common.h"

typedef struct {
    INDEX rows, width, out_row, out_col, x_row, x_col, out_offset, x_offset, step, offset0, offset1, offset2;
} rows_t;

/* out[i, j] = x[indices[i], j] */
KERNEL void take(const rows_t layout, __global T *out, __global const T *x, __global const long *indices)
{
    const INDEX item = get_global_id(0), i = item / layout.width, j = item % layout.width;
    if (i >= layout.rows)
        return;
    const long row = indices[layout.offset0 + i * layout.step];
    out[layout.out_offset + i * layout.out_row + j * layout.out_col]
        = x[layout.x_offset + row * layout.x_row + j * layout.x_col];
}

/* out[indices[i], j] = x[i, j] */
KERNEL void put(const rows_t layout, __global T *out, __global const T *x, __global const long *indices)
{
    const INDEX item = get_global_id(0), i = item / layout.width, j = item % layout.width;
    if (i >= layout.rows)
        return;
    const long row = indices[layout.offset0 + i * layout.step];
    out[layout.out_offset + row * layout.out_row + j * layout.out_col]
        = x[layout.x_offset + i * layout.x_row + j * layout.x_col];
}

/* out[i, j] = sum of data[e] * x[indices[e], j] over the entries e of row i, in their order */
KERNEL void csr_matmul(const rows_t layout, __global T *out, __global const long *indptr, __global const long *indices,
                       __global const T *data, __global const T *x)
{
    const INDEX item = get_global_id(0), i = item / layout.width, j = item % layout.width;
    if (i >= layout.rows)
        return;
    const long last = indptr[layout.offset0 + i + 1];
    T sum = 0;
    for (long e = indptr[layout.offset0 + i]; e < last; e++)
        sum += data[layout.offset2 + e * layout.step]
            * x[layout.x_offset + indices[layout.offset1 + e] * layout.x_row + j * layout.x_col];
    out[layout.out_offset + i * layout.out_row + j * layout.out_col] = sum;
}

/* out[rows[s], j] += sum of g[order[e], j] over the entries e of group s, in their order */
KERNEL void add_rows(const rows_t layout, __global T *out, __global const long *rows, __global const long *starts,
                     __global const long *order, __global const T *g)
{
    const INDEX item = get_global_id(0), s = item / layout.width, j = item % layout.width;
    if (s >= layout.rows)
        return;
    const long last = starts[layout.offset1 + s + 1];
    A sum = 0;
    for (long e = starts[layout.offset1 + s]; e < last; e++)
        sum += g[layout.x_offset + order[layout.offset2 + e] * layout.x_row + j * layout.x_col];
    __global T *target = out + (layout.out_offset + rows[layout.offset0 + s] * layout.out_row + j * layout.out_col);
    *target += (T)sum;
}

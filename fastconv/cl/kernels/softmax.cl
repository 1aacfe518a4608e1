/* Rows of softmax, log_softmax, cross-entropy and their gradients, one kernel in use at a time. The
 * order of the sums is that of reference.py, and _cy/kernels/softmax.h has the same expressions: they
 * round alike.
 *
 *     SHARED   a work-group of ROW_LANES items for each row, a lane each; else one item has all lanes
 *     A        what sums are taken in
 *     LOG      log_softmax
 */
#ifndef T
#define T float
#define A float
#define INDEX int
#define GROUP_SIZE 1, 1, 1
#define softmax_ONLY
#define OPERANDS 2
#endif
#include "common.h"
#include "scalar_math.h"

#define ROW_LANES 32

typedef struct { INDEX rows, n, offset[OPERANDS], row[OPERANDS], col[OPERANDS]; } layout_t;

/* operand p, number k among the kernel's parameters, at this row and column j */
#define AT(p, k, j) (p)[layout.offset[k] + i * layout.row[k] + (j) * layout.col[k]]

#ifdef SHARED
#define LANES(type, name) __local type name[ROW_LANES]
#define EACH_LANE const int l = get_local_id(0);
#define TOGETHER barrier(CLK_LOCAL_MEM_FENCE);
#else
#define LANES(type, name) type name[ROW_LANES]
#define EACH_LANE for (int l = 0; l < ROW_LANES; l++)
#define TOGETHER
#endif
/* Lane l takes the columns l, l + ROW_LANES, ...: whole blocks first, without a condition. */
#define EACH_COLUMN(statement) do { \
    const INDEX whole_ = layout.n - layout.n % ROW_LANES; \
    for (INDEX from = 0; from < whole_; from += ROW_LANES) { \
        EACH_LANE { const INDEX j = from + l; statement } \
    } \
    EACH_LANE { const INDEX j = whole_ + l; if (j < layout.n) { statement } } } while (0)
/* lane[0] = all lanes combined. */
#define FOLD(lane, STEP) do { \
    for (int span = ROW_LANES / 2; span; span /= 2) { \
        TOGETHER \
        EACH_LANE { if (l < span) lane[l] = STEP(lane[l], lane[l + span]); } \
    } \
    TOGETHER } while (0)
#define LARGER(a, b) ((b) > (a) ? (b) : (a))
#define PLUS(a, b) ((a) + (b))

/* The largest x of the row, and the sum of exp(x - largest). */
#define MAX_AND_SUM(x, k) \
    LANES(T, best); \
    LANES(A, sum); \
    { EACH_LANE { best[l] = -INFINITY; sum[l] = 0; } } \
    EACH_COLUMN(best[l] = LARGER(best[l], AT(x, k, j));); \
    FOLD(best, LARGER); \
    const T highest = best[0]; \
    EACH_COLUMN(sum[l] += FC_EXP(AT(x, k, j) - highest);); \
    FOLD(sum, PLUS); \
    const T sums = (T)sum[0];

#ifdef softmax_ONLY
KERNEL void softmax(const layout_t layout, __global T *out, __global const T *x)
{
    const INDEX i = get_group_id(0);
    MAX_AND_SUM(x, 1)
#ifdef LOG
    const T shift = FC_LOG(sums);
    EACH_COLUMN(AT(out, 0, j) = (AT(x, 1, j) - highest) - shift;);
#else
    const T scale = 1 / sums;
    EACH_COLUMN(AT(out, 0, j) = FC_EXP(AT(x, 1, j) - highest) * scale;);
#endif
}
#endif

#ifdef softmax_grad_ONLY
KERNEL void softmax_grad(const layout_t layout, __global T *out, __global const T *g, __global const T *y)
{
    const INDEX i = get_group_id(0);
    LANES(A, sum);
    { EACH_LANE { sum[l] = 0; } }
#ifdef LOG
    EACH_COLUMN(sum[l] += AT(g, 1, j););
#else
    EACH_COLUMN(sum[l] += (A)AT(g, 1, j) * (A)AT(y, 2, j););
#endif
    FOLD(sum, PLUS);
    const T total = (T)sum[0];
#ifdef LOG
    EACH_COLUMN(AT(out, 0, j) = FC_FMA(-FC_EXP(AT(y, 2, j)), total, AT(g, 1, j)););
#else
    EACH_COLUMN(AT(out, 0, j) = AT(y, 2, j) * (AT(g, 1, j) - total););
#endif
}
#endif

#ifdef cross_entropy_ONLY
KERNEL void cross_entropy(const layout_t layout, __global T *loss, __global T *top, __global T *total, __global const T *x,
                          __global const long *labels)
{
    const INDEX i = get_group_id(0);
    MAX_AND_SUM(x, 3)
    const long label = AT(labels, 4, 0);
#ifdef SHARED
    if (get_local_id(0) == 0)
#endif
    {
        AT(loss, 0, 0) = label < 0 ? 0 : FC_LOG(sums) - (AT(x, 3, label < 0 ? 0 : label) - highest);
        AT(top, 1, 0) = highest;
        AT(total, 2, 0) = sums;
    }
}
#endif

#ifdef cross_entropy_grad_ONLY
KERNEL void cross_entropy_grad(const layout_t layout, __global T *out, __global const T *g, __global const T *x,
                               __global const T *top, __global const T *total, __global const long *labels)
{
    const INDEX i = get_group_id(0);
    const T highest = AT(top, 3, 0), each = AT(g, 1, 0), factor = each / AT(total, 4, 0);
    const INDEX label = AT(labels, 5, 0);
    if (label < 0)
        EACH_COLUMN(AT(out, 0, j) = 0;);
    else {
        EACH_COLUMN(AT(out, 0, j) = FC_EXP(AT(x, 2, j) - highest) * factor;);
#ifdef SHARED
        if (label % ROW_LANES == get_local_id(0))
#endif
        AT(out, 0, label) = FC_FMA(FC_EXP(AT(x, 2, label) - highest), factor, -each);
    }
}
#endif

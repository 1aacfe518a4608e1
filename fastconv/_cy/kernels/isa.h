/* What each instruction set exports: one table of kernels, filled by isa_body.h.
 *
 * Every kernel here is straight-line arithmetic over a block that a .pyx file has cut out: no
 * allocation, no threads, no Python. Strides count elements unless a name says bytes.
 */
#ifndef FC_ISA_H
#define FC_ISA_H
#include <stdint.h>

enum { FC_F32, FC_F64, FC_I32, FC_I64, FC_U8, FC_BOOL, FC_DTYPES };

/* Rows of scalar_ops.h by number. */
enum {
#define FC_OP(name, arity, domain, result, ...) FC_INDEX_##name,
#include "../../scalar_ops.h"
#undef FC_OP
    FC_OPS
};

enum { FC_NO_ACTIVATION, FC_RELU, FC_RELU6 };
enum { FC_SUM, FC_PROD, FC_MAX, FC_MIN, FC_REDUCTIONS };

/* out[i] = f(x[0][i], x[1][i], ...) over contiguous blocks; out may be exactly one of the inputs. */
typedef void (*fc_map)(void *out, const void *const *x, int64_t n);

/* Reductions into accumulators of double (float dtypes) or int64_t (the others), one for each column j.
 * inner: acc[j] takes n elements x[j * column + i * stride], for each of `width` columns.
 * outer: acc[j] takes rows elements x[r * row_stride + j * stride], for each of n columns. */
typedef void (*fc_reduce_inner)(void *acc, const void *x, int64_t n, int64_t stride, int64_t width, int64_t column);
typedef void (*fc_reduce_outer)(void *acc, const void *x, int64_t rows, int64_t row_stride, int64_t n,
                                int64_t stride);
enum { FC_SUM_LANES = 16 };
typedef void (*fc_sum_lanes)(double *lanes, const void *x, int64_t n, int64_t stride, int64_t width, int64_t column);
/* Normalisation of a stretch of n positions of `width` channels (kernels/norm.h). */
enum { FC_ROW_LANES = 2, FC_PLANE_LANES = 16 };
typedef struct {
    const void *x, *g;
    int64_t n, width, phase;                    /* phase: number of the first position within its chunk */
    int64_t x_row, x_step, g_row, g_step;       /* strides of positions and channels */
    int lanes, activation;
    const double *centre;                       /* a value per channel; so are the next */
    const void *mean, *scale, *bias;
    double *sums;       /* [lane][2][width] for FC_ROW_LANES, [width][2][lane] for FC_PLANE_LANES */
} fc_norm_sums;
typedef struct {
    int64_t width, count, chunks, stride;       /* channels, positions, chunks, channels from one sum to the next */
    double *partial;                            /* [chunk][2][stride], from the first of these channels */
    const double *centre;
    double momentum, eps;
    const void *weight, *bias;                  /* NULL where there are none */
    void *mean, *rstd, *scale, *shift, *running_mean, *running_var;
    void *d_weight, *d_bias, *g_mean, *slope;
} fc_norm_end;
typedef struct {
    void *y;
    const void *x, *g;
    int64_t n, width;
    int64_t y_row, y_step, x_row, x_step, g_row, g_step;
    int activation;
    const void *mean, *scale, *bias, *g_mean, *slope;
} fc_norm_apply;

/* best[j], index[j] over rows x[r * row_stride + j * stride]; sign is +1 for argmax, -1 for argmin. */
typedef void (*fc_arg_outer)(int64_t *index, const void *x, int64_t rows, int64_t row_stride, int64_t n,
                             int64_t stride, int largest);

/* x of a convolution seen from its output pixels: sizes and strides of (n, d, h, w, c), the output
 * sizes that number the pixels, and how they map to input positions. A matrix is an image of n = m. */
typedef struct {
    const void *x;
    int64_t size[5], stride[5];
    int64_t out[3], step[3], origin[3];     /* input position = pixel * step + origin, per d, h, w */
} fc_image;

/* A stretch of the contraction axis: elements [first, first + length) of the `taps` * c values that
 * lie in w direction from input position pixel + (d, h, w); `dilation` between taps. */
typedef struct {
    int64_t d, h, w, taps;
    int64_t first, length;
    int64_t tap;            /* which tap of the kernel (flat index) the first of `taps` is */
    int64_t offset;         /* of its first element in x, from the pixel's */
    int64_t k;              /* where the stretch starts in the packed contraction axis */
} fc_run;

/* n elements of k: where they start in A and in B, in elements. */
typedef struct {
    int64_t a, b, n;
} fc_span;

/* Where one tap of a depthwise kernel reads x, from the output's pixel, and w. */
typedef struct {
    int64_t x, w;
} fc_tap;

typedef struct {
    int tile_rows, tile_columns, lanes;
    int64_t segment;        /* longest stretch of K that is packed at once */
    int64_t row_stride;     /* of A packed as rows */
    /* C (rows, columns) += or = A B over spans of k, for at most tile_columns columns.
     * by_rows: a[r * a_stride + k], else a[k * a_stride + r]. B: b[k * b_stride + j]. */
    void (*tile)(int rows, int by_rows, const void *a, int64_t a_stride, const void *b, int64_t b_stride,
                 const fc_span *spans, int64_t n_spans, void *c, int64_t c_stride, int64_t columns, int accumulate);
    /* Patches of pixels [pixel, pixel + rows) along runs, as rows: dst[r * dst_stride + k]. May
     * write up to one vector beyond a row's end, and read as much beyond a run. */
    void (*pack_rows)(void *dst, int64_t dst_stride, const fc_image *image, int64_t pixel, int64_t rows,
                      const fc_run *runs, int64_t n_runs);
    /* The same as columns: dst[k * dst_stride + r]. */
    void (*pack_columns)(void *dst, int64_t dst_stride, const fc_image *image, int64_t pixel, int64_t rows,
                         const fc_run *runs, int64_t n_runs);
    /* Rows of B in panels of tile_columns, dst_panel apart, with zeros beyond the last column. */
    void (*pack_b)(void *dst, int64_t dst_panel, const void *b, int64_t k, int64_t k_stride, int64_t columns,
                   int64_t column_stride);
    /* n pixels of c channels side by side: dst[i * c + e] = src[i * src_pixel + e * src_channel]. May
     * write up to one vector beyond the end. */
    void (*copy_pixels)(void *dst, const void *src, int64_t n, int64_t c, int64_t src_pixel, int64_t src_channel);
    /* dst[i * dst_row + j * dst_column] = src[...] over rows x columns. */
    void (*copy_block)(void *dst, int64_t dst_row, int64_t dst_column, const void *src, int64_t src_row,
                       int64_t src_column, int64_t rows, int64_t columns);
    /* dst[i * dst_stride + j] = src[j * src_stride + i] over rows x columns of dst. */
    void (*transpose)(void *dst, int64_t dst_stride, const void *src, int64_t src_stride, int64_t rows,
                      int64_t columns);
    /* One stretch of C to the output: out[r * out_row + j * out_column] = c[r * c_stride + j] + bias,
     * and then the activation. */
    void (*store)(void *out, int64_t out_row, int64_t out_column, const void *c, int64_t c_stride,
                  int64_t rows, int64_t columns, const void *bias, int64_t bias_stride, int activation);
    /* The same for whole, aligned vectors with columns and bias side by side, past the caches. */
    void (*stream)(void *out, int64_t out_row, const void *c, int64_t c_stride, int64_t rows, int64_t columns,
                   const void *bias, int activation);
    /* Depthwise: n outputs, x_step apart in x, of all channels, which lie side by side. */
    void (*depthwise)(void *out, int64_t out_step, const void *x, int64_t x_step, const fc_tap *taps, int64_t n_taps,
                      const void *w, int64_t n, int64_t channels, const void *bias, int activation);
    /* acc[t * acc_step + c] += the sum over n pixels of x[... + t * tap_step + c] * g[... + c], in order. */
    void (*depthwise_grad)(void *acc, int64_t acc_step, const void *x, int64_t x_step, int64_t tap_step, int64_t taps,
                           const void *g, int64_t g_step, int64_t n, int64_t channels);
    /* y[j] += a * x[j * stride] */
    void (*axpy)(void *y, double a, const void *x, int64_t n, int64_t stride);
    /* y[i] += x[i] */
    void (*accumulate)(void *y, const void *x, int64_t n);
} fc_gemm;

/* Winograd convolution F(tile x tile, 3x3); see winograd.h. Transformed data are one matrix per point,
 * (tile + 2)^2 of them, `point` elements apart. */
enum { FC_WINOGRAD_BLOCK = 64 };        /* channels of a transformed tile that lie side by side */
typedef struct {
    void (*image)(void *v, int64_t point, int64_t block, const void *const *pixel, int64_t channels);
    void (*grad)(void *y, int64_t point, int64_t panel, const void *const *pixel, int64_t columns);
    void (*kernel)(void *u, int64_t point, const void *w, int64_t tap_h, int64_t tap_w, int64_t row, int64_t rows,
                   int stream);
    void (*result)(void *const *pixel, const void *m, int64_t point, int64_t columns, const void *bias, int activation);
    void (*kernel_grad)(void *dw, int64_t tap_h, int64_t tap_w, const void *d, int64_t point, int64_t columns);
    /* C (rows, columns) += or = A B, the sum over k in chunks. by_rows: A is [k / BLOCK][rows][BLOCK], `a_block`
     * between blocks; else [k][BLOCK] with at most BLOCK rows. B is [columns / tile_columns][k][tile_columns]. */
    void (*multiply)(int by_rows, const void *a, int64_t a_block, int64_t rows, const void *b, int64_t b_panel, void *c,
                     int64_t c_stride, int64_t columns, int64_t k, int64_t chunk, int accumulate);
} fc_winograd;

/* What one step of an optimiser does to n elements, each operand with its own stride. */
typedef struct {
    double lr, momentum, weight_decay;
    int nesterov, first;
} fc_sgd;
typedef struct {
    double beta1, beta2, eps, weight_decay;
    double shrink, rate, correction;        /* lr * decoupled decay, lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t) */
} fc_adam;
typedef void (*fc_sgd_step)(const fc_sgd *step, int64_t n, void *const *data, const int64_t *stride);
typedef void (*fc_adam_step)(const fc_adam *step, int64_t n, void *const *data, const int64_t *stride);

/* A block of pooling windows seen from one tap: rows x n outputs y, the taps they chose, inputs x. */
typedef struct {
    void *y, *x;
    int32_t *index;
    int64_t rows, n;
    int64_t y_row, index_row, x_row, y_step, index_step, x_step;
    int32_t tap;
} fc_block;
enum { FC_POOL_MAX_STEP, FC_POOL_PICK_STEP, FC_POOL_SPREAD_STEP, FC_POOL_SUM_STEP, FC_POOLS };
typedef void (*fc_pool)(const fc_block *block);

/* Matrices of n columns and vectors, their rows walked together; a label < 0 is that of a row that does
 * not count. The order of the operands stands with each kernel. */
typedef struct {
    int64_t n;
    void *data[6];
    int64_t row[6], step[6];    /* elements from row to row, from column to column */
} fc_rows;
enum { FC_SOFTMAX, FC_SOFTMAX_GRAD, FC_CROSS_ENTROPY, FC_CROSS_ENTROPY_GRAD, FC_ROWS };
typedef void (*fc_rows_kernel)(const fc_rows *rows, int64_t first, int64_t count, int is_log);

/* The elementwise part of a recurrent step over n hidden units. */
enum { FC_LSTM, FC_LSTM_GRAD, FC_GRU, FC_GRU_GRAD, FC_RECURRENTS };
typedef void (*fc_recurrent)(int64_t n, void *const *data, const int64_t *stride, int operands);

typedef struct {
    const char *name;
    const fc_map (*map)[FC_DTYPES];             /* [op][dtype], NULL outside the op's domain */
    const fc_map (*cast)[FC_DTYPES];            /* [to][from] */
    const fc_map *where;
    const fc_reduce_inner (*reduce_inner)[FC_DTYPES];
    const fc_reduce_outer (*reduce_outer)[FC_DTYPES];
    const fc_arg_outer *arg_outer;
    fc_sum_lanes sum_lanes[2];
    void (*fold_lanes)(double *acc, double *lanes, int64_t width);
    void (*norm_statistics[2])(const fc_norm_sums *sums);
    void (*norm_gradient[2])(const fc_norm_sums *sums);
    void (*norm_fold[2])(const fc_norm_sums *sums, double *out, int64_t stride);
    void (*norm_end_statistics[2])(const fc_norm_end *end);
    void (*norm_end_gradient[2])(const fc_norm_end *end);
    void (*norm_apply[2])(const fc_norm_apply *apply);
    void (*norm_apply_grad[2])(const fc_norm_apply *apply);
    fc_gemm gemm[2];
    fc_winograd winograd[2][2];                 /* [dtype][tiles of 4, of 2] */
    fc_pool pool[FC_POOLS][2];
    fc_recurrent recurrent[FC_RECURRENTS][2];
    fc_rows_kernel rows[FC_ROWS][2];
    fc_sgd_step sgd[2];
    fc_adam_step adam[2];
    float (*fma_chains)(int64_t steps);
    float (*read_memory)(const float *x, int64_t n);
    int fma_flops;
} fc_kernels;

extern const fc_kernels fc_kernels_baseline, fc_kernels_avx2, fc_kernels_avx512;
#endif

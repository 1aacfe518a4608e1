"""The declarations of kernels/isa.h for the .pyx files."""
from libc.stdint cimport int32_t, int64_t

cdef extern from "kernels/isa.h" nogil:
    int FC_F32, FC_F64, FC_I32, FC_I64, FC_U8, FC_BOOL
    int FC_OPS
    int FC_SUM, FC_PROD, FC_MAX, FC_MIN
    int FC_SUM_LANES

    ctypedef void (*fc_map)(void *out, const void **x, int64_t n) noexcept nogil
    ctypedef void (*fc_reduce_inner)(void *acc, const void *x, int64_t n, int64_t stride, int64_t width,
                                     int64_t column) noexcept nogil
    ctypedef void (*fc_reduce_outer)(void *acc, const void *x, int64_t rows, int64_t row_stride, int64_t n,
                                     int64_t stride) noexcept nogil
    ctypedef void (*fc_sum_lanes)(double *lanes, const void *x, int64_t n, int64_t stride, int64_t width,
                                  int64_t column) noexcept nogil
    ctypedef void (*fc_fold_lanes)(double *acc, double *lanes, int64_t width) noexcept nogil
    ctypedef void (*fc_arg_outer)(int64_t *index, const void *x, int64_t rows, int64_t row_stride, int64_t n,
                                  int64_t stride, int largest) noexcept nogil

    ctypedef struct fc_norm_sums:
        const void *x
        const void *g
        int64_t n, width, phase, x_row, x_step, g_row, g_step
        int lanes, activation
        const double *centre
        const void *mean
        const void *scale
        const void *bias
        double *sums
    ctypedef struct fc_norm_end:
        int64_t width, count, chunks, stride
        double *partial
        const double *centre
        double momentum, eps
        const void *weight
        const void *bias
        void *mean
        void *rstd
        void *scale
        void *shift
        void *running_mean
        void *running_var
        void *d_weight
        void *d_bias
        void *g_mean
        void *slope
    ctypedef struct fc_norm_apply:
        void *y
        const void *x
        const void *g
        int64_t n, width, y_row, y_step, x_row, x_step, g_row, g_step
        int activation
        const void *mean
        const void *scale
        const void *bias
        const void *g_mean
        const void *slope
    ctypedef void (*fc_norm_sum)(const fc_norm_sums *sums) noexcept nogil
    ctypedef void (*fc_norm_folding)(const fc_norm_sums *sums, double *out, int64_t stride) noexcept nogil
    ctypedef void (*fc_norm_ending)(const fc_norm_end *end) noexcept nogil
    ctypedef void (*fc_norm_pass)(const fc_norm_apply *apply) noexcept nogil

    ctypedef struct fc_image:
        const void *x
        int64_t size[5]
        int64_t stride[5]
        int64_t out[3]
        int64_t step[3]
        int64_t origin[3]

    ctypedef struct fc_run:
        int64_t d, h, w, taps, first, length, tap, offset, k

    ctypedef struct fc_span:
        int64_t a, b, n

    ctypedef struct fc_tap:
        int64_t x, w

    int FC_NO_ACTIVATION, FC_RELU, FC_RELU6

    ctypedef struct fc_gemm:
        int tile_rows, tile_columns, lanes
        int64_t segment, row_stride
        void (*tile)(int rows, int by_rows, const void *a, int64_t a_stride, const void *b, int64_t b_stride,
                     const fc_span *spans, int64_t n_spans, void *c, int64_t c_stride, int64_t columns,
                     int accumulate) noexcept nogil
        void (*copy_pixels)(void *dst, const void *src, int64_t n, int64_t c, int64_t src_pixel,
                            int64_t src_channel) noexcept nogil
        void (*pack_rows)(void *dst, int64_t dst_stride, const fc_image *image, int64_t pixel, int64_t rows,
                          const fc_run *runs, int64_t n_runs) noexcept nogil
        void (*pack_columns)(void *dst, int64_t dst_stride, const fc_image *image, int64_t pixel, int64_t rows,
                             const fc_run *runs, int64_t n_runs) noexcept nogil
        void (*pack_b)(void *dst, int64_t dst_panel, const void *b, int64_t k, int64_t k_stride, int64_t columns,
                       int64_t column_stride) noexcept nogil
        void (*transpose)(void *dst, int64_t dst_stride, const void *src, int64_t src_stride, int64_t rows,
                          int64_t columns) noexcept nogil
        void (*copy_block)(void *dst, int64_t dst_row, int64_t dst_column, const void *src, int64_t src_row,
                           int64_t src_column, int64_t rows, int64_t columns) noexcept nogil
        void (*store)(void *out, int64_t out_row, int64_t out_column, const void *c, int64_t c_stride,
                      int64_t rows, int64_t columns, const void *bias, int64_t bias_stride,
                      int activation) noexcept nogil
        void (*stream)(void *out, int64_t out_row, const void *c, int64_t c_stride, int64_t rows, int64_t columns,
                       const void *bias, int activation) noexcept nogil
        void (*depthwise)(void *out, int64_t out_step, const void *x, int64_t x_step, const fc_tap *taps, int64_t n_taps,
                          const void *w, int64_t n, int64_t channels, const void *bias, int activation) noexcept nogil
        void (*depthwise_grad)(void *acc, int64_t acc_step, const void *x, int64_t x_step, int64_t tap_step,
                               int64_t taps, const void *g, int64_t g_step, int64_t n,
                               int64_t channels) noexcept nogil
        void (*axpy)(void *y, double a, const void *x, int64_t n, int64_t stride) noexcept nogil
        void (*accumulate)(void *y, const void *x, int64_t n) noexcept nogil

    int FC_WINOGRAD_BLOCK
    ctypedef struct fc_winograd:
        void (*image)(void *v, int64_t point, int64_t block, const void **pixel, int64_t channels) noexcept nogil
        void (*grad)(void *y, int64_t point, int64_t panel, const void **pixel, int64_t columns) noexcept nogil
        void (*kernel)(void *u, int64_t point, const void *w, int64_t tap_h, int64_t tap_w, int64_t row, int64_t rows,
                       int stream) noexcept nogil
        void (*result)(void **pixel, const void *m, int64_t point, int64_t columns, const void *bias,
                       int activation) noexcept nogil
        void (*kernel_grad)(void *dw, int64_t tap_h, int64_t tap_w, const void *d, int64_t point,
                            int64_t columns) noexcept nogil
        void (*multiply)(int by_rows, const void *a, int64_t a_block, int64_t rows, const void *b, int64_t b_panel,
                         void *c, int64_t c_stride, int64_t columns, int64_t k, int64_t chunk,
                         int accumulate) noexcept nogil

    ctypedef struct fc_sgd:
        double lr, momentum, weight_decay
        int nesterov, first
    ctypedef struct fc_adam:
        double beta1, beta2, eps, weight_decay, shrink, rate, correction
    ctypedef void (*fc_sgd_step)(const fc_sgd *step, int64_t n, void **data, const int64_t *stride) noexcept nogil
    ctypedef void (*fc_adam_step)(const fc_adam *step, int64_t n, void **data, const int64_t *stride) noexcept nogil

    ctypedef struct fc_block:
        void *y
        void *x
        int32_t *index
        int64_t rows, n, y_row, index_row, x_row, y_step, index_step, x_step
        int32_t tap
    int FC_POOL_MAX_STEP, FC_POOL_PICK_STEP, FC_POOL_SPREAD_STEP, FC_POOL_SUM_STEP
    ctypedef void (*fc_pool)(const fc_block *block) noexcept nogil
    ctypedef struct fc_rows:
        int64_t n
        void *data[6]
        int64_t row[6]
        int64_t step[6]
    int FC_SOFTMAX, FC_SOFTMAX_GRAD, FC_CROSS_ENTROPY, FC_CROSS_ENTROPY_GRAD
    ctypedef void (*fc_rows_kernel)(const fc_rows *rows, int64_t first, int64_t count, int is_log) noexcept nogil
    int FC_LSTM, FC_LSTM_GRAD, FC_GRU, FC_GRU_GRAD
    ctypedef void (*fc_recurrent)(int64_t n, void **data, const int64_t *stride, int operands) noexcept nogil

    ctypedef struct fc_kernels:
        const char *name
        fc_map map[64][6]           # pointers to such arrays in C
        fc_map cast[6][6]
        fc_map where[6]
        fc_reduce_inner reduce_inner[4][6]
        fc_reduce_outer reduce_outer[4][6]
        fc_arg_outer arg_outer[6]
        fc_sum_lanes sum_lanes[2]
        fc_fold_lanes fold_lanes
        fc_norm_sum norm_statistics[2]
        fc_norm_sum norm_gradient[2]
        fc_norm_folding norm_fold[2]
        fc_norm_ending norm_end_statistics[2]
        fc_norm_ending norm_end_gradient[2]
        fc_norm_pass norm_apply[2]
        fc_norm_pass norm_apply_grad[2]
        fc_gemm gemm[2]
        fc_winograd winograd[2][2]
        fc_pool pool[4][2]
        fc_recurrent recurrent[4][2]
        fc_rows_kernel rows[4][2]
        fc_sgd_step sgd[2]
        fc_adam_step adam[2]
        float (*fma_chains)(int64_t steps) noexcept nogil
        float (*read_memory)(const float *x, int64_t n) noexcept nogil
        int fma_flops

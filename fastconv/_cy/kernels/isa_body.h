/* One instruction set's kernels: included by isa_<name>.c, which says FC_ISA and FC_VECTOR_BYTES. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#if FC_VECTOR_BYTES > 16
#include <immintrin.h>
#endif
#include "isa.h"

#define FC_CAT_(a, b) a##_##b
#define FC_CAT(a, b) FC_CAT_(a, b)
#define FC_STR_(a) #a
#define FC_STR(a) FC_STR_(a)
#define FC_SIMD _Pragma("omp simd")
#if defined(__clang__)
#define FC_UNROLL _Pragma("unroll")
#else
#define FC_UNROLL _Pragma("GCC unroll 32")
#endif
#define FC_INLINE static inline __attribute__((always_inline))

/* Vectors of FC_VECTOR_BYTES: a * b + c rounded once, and stores past the caches. */
#if FC_VECTOR_BYTES == 64
#define FC_VECTOR_FMA_f32(VEC, a, b, c) (VEC)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define FC_VECTOR_FMA_f64(VEC, a, b, c) (VEC)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#define FC_STREAM(p, v) _mm512_stream_si512((__m512i *)(p), (__m512i)(v))
#elif FC_VECTOR_BYTES == 32
#define FC_VECTOR_FMA_f32(VEC, a, b, c) (VEC)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define FC_VECTOR_FMA_f64(VEC, a, b, c) (VEC)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
#define FC_STREAM(p, v) _mm256_stream_si256((__m256i *)(p), (__m256i)(v))
#else
#define FC_VECTOR_FMA_f32(VEC, a, b, c) ((a) * (b) + (c))
#define FC_VECTOR_FMA_f64(VEC, a, b, c) ((a) * (b) + (c))
#endif
#ifdef FC_STREAM
#define FC_STREAM_END _mm_sfence()
#else
#define FC_STREAM(p, v) (*(__typeof__(v) *)(p) = (v))
#define FC_STREAM_END ((void)0)
#endif

#include "elementwise.h"
#include "reduce.h"
#include "optim.h"
#include "softmax.h"
#include "windows.h"
#include "machine.h"

#define T float
#define MASK int32_t
#define SUFFIX f32
#include "gemm.h"
#include "norm.h"
#include "winograd.h"
#undef T
#undef MASK
#undef SUFFIX
#define T double
#define MASK int64_t
#define SUFFIX f64
#include "gemm.h"
#include "norm.h"
#include "winograd.h"
#undef T
#undef MASK
#undef SUFFIX

#define FC_GEMM_TABLE(suffix) { \
    .tile_rows = FC_TILE_ROWS, \
    .tile_columns = 2 * FC_VECTOR_BYTES / sizeof(element_##suffix), \
    .lanes = FC_VECTOR_BYTES / sizeof(element_##suffix), \
    .segment = FC_SEGMENT, .row_stride = FC_ROW_STRIDE, \
    .tile = tile_##suffix, .pack_rows = pack_rows_##suffix, .pack_columns = pack_columns_##suffix, \
    .pack_b = pack_b_##suffix, .copy_block = copy_block_##suffix, .transpose = transpose_block_##suffix, \
    .copy_pixels = copy_pixels_##suffix, .store = store_##suffix, .stream = stream_##suffix, \
    .depthwise = depthwise_##suffix, .depthwise_grad = depthwise_grad_##suffix, \
    .axpy = axpy_##suffix, .accumulate = accumulate_##suffix}

#define FC_WINOGRAD_TABLE(tile, suffix) { \
    .image = winograd_image_##tile##_##suffix, .grad = winograd_grad_##tile##_##suffix, \
    .kernel = winograd_kernel_##tile##_##suffix, .result = winograd_result_##tile##_##suffix, \
    .kernel_grad = winograd_kernel_grad_##tile##_##suffix, .multiply = winograd_multiply_##suffix}

const fc_kernels FC_CAT(fc_kernels, FC_ISA) = {
    .name = FC_STR(FC_ISA),
    .map = fc_map_rows,
    .cast = fc_cast_rows,
    .where = fc_where_row,
    .reduce_inner = fc_reduce_inner_rows,
    .reduce_outer = fc_reduce_outer_rows,
    .arg_outer = fc_arg_outer_row,
    .sum_lanes = {sum_lanes_f32, sum_lanes_f64},
    .fold_lanes = fold_lanes,
    .norm_statistics = {norm_statistics_f32, norm_statistics_f64},
    .norm_gradient = {norm_gradient_f32, norm_gradient_f64},
    .norm_fold = {norm_fold_f32, norm_fold_f64},
    .norm_end_statistics = {norm_end_statistics_f32, norm_end_statistics_f64},
    .norm_end_gradient = {norm_end_gradient_f32, norm_end_gradient_f64},
    .norm_apply = {norm_apply_f32, norm_apply_f64},
    .norm_apply_grad = {norm_apply_grad_f32, norm_apply_grad_f64},
    .gemm = {FC_GEMM_TABLE(f32), FC_GEMM_TABLE(f64)},
    .winograd = {{FC_WINOGRAD_TABLE(4, f32), FC_WINOGRAD_TABLE(2, f32)},
                 {FC_WINOGRAD_TABLE(4, f64), FC_WINOGRAD_TABLE(2, f64)}},
    .pool = {{pool_max_f32, pool_max_f64}, {pool_pick_f32, pool_pick_f64}, {pool_spread_f32, pool_spread_f64},
             {pool_sum_f32, pool_sum_f64}},
    .recurrent = {{lstm_f32, lstm_f64}, {lstm_grad_f32, lstm_grad_f64}, {gru_f32, gru_f64},
                  {gru_grad_f32, gru_grad_f64}},
    .rows = {{softmax_f32, softmax_f64}, {softmax_grad_f32, softmax_grad_f64}, {cross_entropy_f32, cross_entropy_f64},
             {cross_entropy_grad_f32, cross_entropy_grad_f64}},
    .sgd = {sgd_f32, sgd_f64},
    .adam = {adam_f32, adam_f64},
    .fma_chains = fma_chains, .read_memory = read_memory, .fma_flops = FC_FMA_FLOPS,
};

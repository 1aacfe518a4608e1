/* Reductions of one slab: runs of elements along the reduced axis, one for each column (inner), or
 * rows into one accumulator per column (outer). Accumulators are double for floats, int64_t for the rest;
 * max and min compare in the type itself.
 *
 * All instruction sets give the same bits: sums of float32 along a run go to FC_SUM_LANES lanes,
 * element i to lane i % FC_SUM_LANES (see reference.sum_order), the others are exact or one chain.
 */
#define FC_LANES 64

#define FC_STEP_SUM(a, v) ((a) + (v))
#define FC_STEP_PROD(a, v) ((a) * (v))
#define FC_STEP_MAX(a, v) ((v) > (a) || (v) != (v) ? (v) : (a))
#define FC_STEP_MIN(a, v) ((v) < (a) || (v) != (v) ? (v) : (a))

/* `LANE` is what lanes hold, `LANED` whether runs are long enough to have them. */
#define FC_DEFINE_REDUCE(dtype, T, ACC, LANE, LANED, OP) \
    static void inner_##OP##_##dtype(void *acc, const void *x, int64_t n, int64_t stride, int64_t width, \
                                     int64_t column) { \
        for (int64_t j = 0; j < width; j++) { \
            const T *p = (const T *)x + j * column; \
            ACC total = ((ACC *)acc)[j]; \
            int64_t i = 0; \
            if (LANED && stride == 1 && n >= FC_LANES) { \
                LANE lane[FC_LANES]; \
                FC_SIMD for (int l = 0; l < FC_LANES; l++) \
                    lane[l] = p[l]; \
                for (i = FC_LANES; i + FC_LANES <= n; i += FC_LANES) \
                    FC_SIMD for (int l = 0; l < FC_LANES; l++) { \
                        const LANE v = p[i + l]; \
                        lane[l] = FC_STEP_##OP(lane[l], v); \
                    } \
                for (int l = 0; l < FC_LANES; l++) { \
                    const ACC v = lane[l]; \
                    total = FC_STEP_##OP(total, v); \
                } \
            } \
            for (; i < n; i++) { \
                const ACC v = p[i * stride]; \
                total = FC_STEP_##OP(total, v); \
            } \
            ((ACC *)acc)[j] = total; \
        } \
    } \
    FC_INLINE void columns_##OP##_##dtype(const int width, ACC *total, const T *p, int64_t rows, int64_t row_stride) { \
        LANE lane[64]; \
        FC_SIMD for (int l = 0; l < width; l++) \
            lane[l] = (LANE)total[l]; \
        for (int64_t r = 0; r < rows; r++) \
            FC_SIMD for (int l = 0; l < width; l++) { \
                const LANE v = p[r * row_stride + l]; \
                lane[l] = FC_STEP_##OP(lane[l], v); \
            } \
        FC_SIMD for (int l = 0; l < width; l++) \
            total[l] = lane[l]; \
    } \
    static void outer_##OP##_##dtype(void *acc, const void *x, int64_t rows, int64_t row_stride, \
                                     int64_t n, int64_t stride) { \
        const T *p = x; \
        ACC *total = acc; \
        int64_t j = 0; \
        for (; stride == 1 && j + 32 <= n; j += 32) \
            columns_##OP##_##dtype(32, total + j, p + j, rows, row_stride); \
        for (; stride == 1 && j + 8 <= n; j += 8) \
            columns_##OP##_##dtype(8, total + j, p + j, rows, row_stride); \
        for (; j < n; j++) { \
            ACC t = total[j]; \
            for (int64_t r = 0; r < rows; r++) { \
                const ACC v = p[r * row_stride + j * stride]; \
                t = FC_STEP_##OP(t, v); \
            } \
            total[j] = t; \
        } \
    }

/* M(dtype, T, accumulator, ...) */
#define FC_EACH_ACC(M, ...) \
    M(f32, float, double, __VA_ARGS__) M(f64, double, double, __VA_ARGS__) M(i32, int32_t, int64_t, __VA_ARGS__) \
    M(i64, int64_t, int64_t, __VA_ARGS__) M(u8, uint8_t, int64_t, __VA_ARGS__)
#define FC_DEFINE_WIDE(dtype, T, ACC, OP) FC_DEFINE_REDUCE(dtype, T, ACC, ACC, 0, OP)
#define FC_DEFINE_OWN(dtype, T, ACC, OP) FC_DEFINE_REDUCE(dtype, T, ACC, T, 1, OP)
FC_EACH_ACC(FC_DEFINE_WIDE, SUM)
FC_EACH_ACC(FC_DEFINE_WIDE, PROD)
FC_EACH_ACC(FC_DEFINE_OWN, MAX)
FC_EACH_ACC(FC_DEFINE_OWN, MIN)

/* Sums of runs in lanes: lanes[j][i % FC_SUM_LANES] += x[j * column + i * stride]. */
#define FC_DEFINE_SUM_LANES(dtype, T) \
    static void sum_lanes_##dtype(double *lanes, const void *x, int64_t n, int64_t stride, int64_t width, int64_t column) { \
        for (int64_t j = 0; j < width; j++) { \
            const T *p = (const T *)x + j * column; \
            double *to = lanes + j * FC_SUM_LANES; \
            int64_t i = 0; \
            if (stride == 1) { \
                double lane[FC_SUM_LANES]; \
                FC_SIMD for (int l = 0; l < FC_SUM_LANES; l++) \
                    lane[l] = to[l]; \
                for (; i + FC_SUM_LANES <= n; i += FC_SUM_LANES) \
                    FC_SIMD for (int l = 0; l < FC_SUM_LANES; l++) \
                        lane[l] += p[i + l]; \
                FC_SIMD for (int l = 0; l < FC_SUM_LANES; l++) \
                    to[l] = lane[l]; \
            } \
            for (; i < n; i++) \
                to[i % FC_SUM_LANES] += p[i * stride]; \
        } \
    }
FC_DEFINE_SUM_LANES(f32, float)
FC_DEFINE_SUM_LANES(f64, double)

/* acc[j] = the lanes of column j, folded by halves. */
static void fold_lanes(double *acc, double *lanes, int64_t width)
{
    for (int64_t j = 0; j < width; j++) {
        double *lane = lanes + j * FC_SUM_LANES;
        for (int span = FC_SUM_LANES / 2; span; span /= 2)
            FC_SIMD for (int l = 0; l < span; l++)
                lane[l] += lane[l + span];
        acc[j] = lane[0];
    }
}

#define FC_INNER_ENTRY(dtype, T, ACC, OP) [FC_SLOT_##dtype] = inner_##OP##_##dtype,
#define FC_OUTER_ENTRY(dtype, T, ACC, OP) [FC_SLOT_##dtype] = outer_##OP##_##dtype,
#define FC_ROW(ENTRY, OP, side) {FC_EACH_ACC(ENTRY, OP) [FC_BOOL] = side##_##OP##_u8}
static const fc_reduce_inner fc_reduce_inner_rows[FC_REDUCTIONS][FC_DTYPES] = {
    [FC_SUM] = FC_ROW(FC_INNER_ENTRY, SUM, inner),
    [FC_PROD] = FC_ROW(FC_INNER_ENTRY, PROD, inner),
    [FC_MAX] = FC_ROW(FC_INNER_ENTRY, MAX, inner),
    [FC_MIN] = FC_ROW(FC_INNER_ENTRY, MIN, inner),
};
static const fc_reduce_outer fc_reduce_outer_rows[FC_REDUCTIONS][FC_DTYPES] = {
    [FC_SUM] = FC_ROW(FC_OUTER_ENTRY, SUM, outer),
    [FC_PROD] = FC_ROW(FC_OUTER_ENTRY, PROD, outer),
    [FC_MAX] = FC_ROW(FC_OUTER_ENTRY, MAX, outer),
    [FC_MIN] = FC_ROW(FC_OUTER_ENTRY, MIN, outer),
};

/* The first largest (or smallest) of each column; the first NaN beats all. */
#define FC_BETTER(v, best) ((largest ? (v) > (best) : (v) < (best)) || ((v) != (v) && (best) == (best)))
#define FC_DEFINE_ARG(dtype, T, _) \
    /* Columns side by side: at most FC_LANES of them. */ \
    FC_INLINE void arg_columns_##dtype(int64_t *index, const T *p, int64_t rows, int64_t row_stride, int64_t n, \
                                       const int largest) { \
        T best[FC_LANES]; \
        int32_t at[FC_LANES] = {0}; \
        for (int64_t j = 0; j < n; j++) \
            best[j] = p[j]; \
        for (int32_t r = 1; r < (int32_t)rows; r++) { \
            const T *row = p + r * row_stride; \
            FC_SIMD for (int64_t j = 0; j < n; j++) { \
                const T v = row[j]; \
                const int better = FC_BETTER(v, best[j]); \
                best[j] = better ? v : best[j]; \
                at[j] = better ? r : at[j]; \
            } \
        } \
        for (int64_t j = 0; j < n; j++) \
            index[j] = at[j]; \
    } \
    /* One run: the best value of each block of FC_LANES, then where it is in the first block that has it. */ \
    FC_INLINE int64_t arg_run_##dtype(const T *p, int64_t n, int64_t stride, const int largest) { \
        T best = p[0]; \
        int64_t at = 0, i = 1; \
        if (stride == 1 && n >= 2 * FC_LANES) { \
            T lane[FC_LANES]; \
            FC_SIMD for (int l = 0; l < FC_LANES; l++) \
                lane[l] = p[l]; \
            for (i = FC_LANES; i + FC_LANES <= n; i += FC_LANES) \
                FC_SIMD for (int l = 0; l < FC_LANES; l++) { \
                    const T v = p[i + l]; \
                    lane[l] = largest ? FC_STEP_MAX(lane[l], v) : FC_STEP_MIN(lane[l], v); \
                } \
            for (int l = 0; l < FC_LANES; l++) \
                best = FC_BETTER(lane[l], best) ? lane[l] : best; \
            for (int found = 0; !found; at += FC_LANES) \
                FC_SIMD_OR(found) for (int l = 0; l < FC_LANES; l++) \
                    found |= (p[at + l] == best) | ((p[at + l] != p[at + l]) & (best != best)); \
            for (at -= FC_LANES; !(p[at] == best || p[at] != p[at]); at++) \
                ; \
        } \
        for (; i < n; i++) { \
            const T v = p[i * stride]; \
            if (FC_BETTER(v, best)) { \
                best = v; \
                at = i; \
            } \
        } \
        return at; \
    } \
    FC_INLINE void arg_of_##dtype(int64_t *index, const T *p, int64_t rows, int64_t row_stride, int64_t n, int64_t stride, \
                                  const int largest) { \
        int64_t j = 0; \
        for (; stride == 1 && n - j >= 4 && rows < INT32_MAX; j += FC_LANES) { \
            if (n - j >= FC_LANES) \
                arg_columns_##dtype(index + j, p + j, rows, row_stride, FC_LANES, largest); \
            else { \
                arg_columns_##dtype(index + j, p + j, rows, row_stride, n - j, largest); \
                return; \
            } \
        } \
        for (; j < n; j++) \
            index[j] = arg_run_##dtype(p + j * stride, rows, row_stride, largest); \
    } \
    static void arg_outer_##dtype(int64_t *index, const void *x, int64_t rows, int64_t row_stride, int64_t n, \
                                  int64_t stride, int largest) { \
        if (largest) \
            arg_of_##dtype(index, x, rows, row_stride, n, stride, 1); \
        else \
            arg_of_##dtype(index, x, rows, row_stride, n, stride, 0); \
    }
#define FC_SIMD_OR(found) _Pragma("omp simd reduction(|: found)")
FC_EACH_ANY(FC_DEFINE_ARG, )
#define FC_ARG_ENTRY(dtype, T, _) [FC_SLOT_##dtype] = arg_outer_##dtype,
static const fc_arg_outer fc_arg_outer_row[FC_DTYPES] = {FC_EACH_ANY(FC_ARG_ENTRY, )};

/* Reductions of one slab: along contiguous or strided elements (inner), or of rows into one
 * accumulator per column (outer). Floats accumulate in double, integers in int64_t.
 *
 * Both keep FC_LANES independent accumulators whatever the instruction set, so that they vectorise,
 * and so that all of them give the same bits. FC_SUM_PAIRS, sums of float32 that carry their rounding
 * errors along, are a row of their own: n accumulators at acc, their compensations at acc + n.
 */
#define FC_SUM_PAIRS FC_REDUCTIONS
#define FC_LANES 32
#define FC_PAIRS 16     /* lanes of compensated sums */

#define FC_STEP_SUM(a, v) ((a) + (v))
#define FC_STEP_PROD(a, v) ((a) * (v))
#define FC_STEP_MAX(a, v) ((v) > (a) || (v) != (v) ? (v) : (a))
#define FC_STEP_MIN(a, v) ((v) < (a) || (v) != (v) ? (v) : (a))
/* Where an accumulator starts: for max and min, an element already seen. */
#define FC_START_SUM(seen) 0
#define FC_START_PROD(seen) 1
#define FC_START_MAX(seen) (seen)
#define FC_START_MIN(seen) (seen)

#define FC_DEFINE_REDUCE(dtype, T, ACC, OP) \
    static void inner_##OP##_##dtype(void *acc, const void *x, int64_t n, int64_t stride) { \
        const T *p = x; \
        ACC total = *(ACC *)acc; \
        int64_t i = 0; \
        if (stride == 1 && n >= FC_LANES) { \
            ACC lane[FC_LANES]; \
            for (int l = 0; l < FC_LANES; l++) \
                lane[l] = FC_START_##OP(total); \
            for (; i + FC_LANES <= n; i += FC_LANES) \
                FC_SIMD for (int l = 0; l < FC_LANES; l++) { \
                    const ACC v = p[i + l]; \
                    lane[l] = FC_STEP_##OP(lane[l], v); \
                } \
            for (int l = 0; l < FC_LANES; l++) \
                total = FC_STEP_##OP(total, lane[l]); \
        } \
        for (; i < n; i++) { \
            const ACC v = p[i * stride]; \
            total = FC_STEP_##OP(total, v); \
        } \
        *(ACC *)acc = total; \
    } \
    static void outer_##OP##_##dtype(void *acc, const void *x, int64_t rows, int64_t row_stride, \
                                     int64_t n, int64_t stride) { \
        const T *p = x; \
        ACC *total = acc; \
        int64_t j = 0; \
        for (; stride == 1 && j + FC_LANES <= n; j += FC_LANES) { \
            ACC lane[FC_LANES]; \
            FC_SIMD for (int l = 0; l < FC_LANES; l++) \
                lane[l] = total[j + l]; \
            for (int64_t r = 0; r < rows; r++) \
                FC_SIMD for (int l = 0; l < FC_LANES; l++) { \
                    const ACC v = p[r * row_stride + j + l]; \
                    lane[l] = FC_STEP_##OP(lane[l], v); \
                } \
            FC_SIMD for (int l = 0; l < FC_LANES; l++) \
                total[j + l] = lane[l]; \
        } \
        for (; stride == 1 && j + 8 <= n; j += 8) { \
            ACC lane[8]; \
            FC_SIMD for (int l = 0; l < 8; l++) \
                lane[l] = total[j + l]; \
            for (int64_t r = 0; r < rows; r++) \
                FC_SIMD for (int l = 0; l < 8; l++) { \
                    const ACC v = p[r * row_stride + j + l]; \
                    lane[l] = FC_STEP_##OP(lane[l], v); \
                } \
            FC_SIMD for (int l = 0; l < 8; l++) \
                total[j + l] = lane[l]; \
        } \
        for (; j < n; j++) { \
            ACC t = total[j]; \
            for (int64_t r = 0; r < rows; r++) { \
                const ACC v = p[r * row_stride + j * stride]; \
                t = FC_STEP_##OP(t, v); \
            } \
            total[j] = t; \
        } \
    }

#define FC_EACH_ACC(M, OP) \
    M(f32, float, double, OP) M(f64, double, double, OP) M(i32, int32_t, int64_t, OP) \
    M(i64, int64_t, int64_t, OP) M(u8, uint8_t, int64_t, OP)
FC_EACH_ACC(FC_DEFINE_REDUCE, SUM)
FC_EACH_ACC(FC_DEFINE_REDUCE, PROD)
FC_EACH_ACC(FC_DEFINE_REDUCE, MAX)
FC_EACH_ACC(FC_DEFINE_REDUCE, MIN)

/* Knuth's two-sum: s + c takes v, of which the new s is what a double holds. */
#define FC_ADD_PAIR(s, c, v) do { \
    const double v_ = (v), t_ = (s) + v_, z_ = t_ - (s); \
    (c) += ((s) - (t_ - z_)) + (v_ - z_); \
    (s) = t_; } while (0)

/* acc[0], acc[1] take the pairs of FC_PAIRS lanes, folded as a tree. */
FC_INLINE void fold_pairs(double *s, double *c, double *total, double *compensation)
{
    for (int span = FC_PAIRS / 2; span; span /= 2)
        for (int l = 0; l < span; l++) {
            FC_ADD_PAIR(s[l], c[l], s[l + span]);
            c[l] += c[l + span];
        }
    FC_ADD_PAIR(*total, *compensation, s[0]);
    *compensation += c[0];
}

static void inner_pairs_f32(void *acc, const void *x, int64_t n, int64_t stride)
{
    const float *p = x;
    double total = ((double *)acc)[0], compensation = ((double *)acc)[1];
    int64_t i = 0;
    if (stride == 1 && n >= FC_PAIRS) {
        double s[FC_PAIRS] = {0}, c[FC_PAIRS] = {0};
        for (; i + FC_PAIRS <= n; i += FC_PAIRS)
            FC_SIMD for (int l = 0; l < FC_PAIRS; l++)
                FC_ADD_PAIR(s[l], c[l], p[i + l]);
        fold_pairs(s, c, &total, &compensation);
    }
    for (; i < n; i++)
        FC_ADD_PAIR(total, compensation, p[i * stride]);
    ((double *)acc)[0] = total;
    ((double *)acc)[1] = compensation;
}

FC_INLINE void sum_columns(const int width, double *sum, double *compensation, const float *p, int64_t rows,
                           int64_t row_stride)
{
    double s[FC_PAIRS], c[FC_PAIRS];
    for (int l = 0; l < width; l++)
        s[l] = sum[l], c[l] = compensation[l];
    for (int64_t r = 0; r < rows; r++)
        FC_SIMD for (int l = 0; l < width; l++)
            FC_ADD_PAIR(s[l], c[l], p[r * row_stride + l]);
    for (int l = 0; l < width; l++)
        sum[l] = s[l], compensation[l] = c[l];
}

static void outer_pairs_f32(void *acc, const void *x, int64_t rows, int64_t row_stride, int64_t n, int64_t stride)
{
    const float *p = x;
    double *sum = acc;
    int64_t j = 0;
    for (; stride == 1 && j + FC_PAIRS <= n; j += FC_PAIRS)
        sum_columns(FC_PAIRS, sum + j, sum + n + j, p + j, rows, row_stride);
    for (; stride == 1 && j + 8 <= n; j += 8)
        sum_columns(8, sum + j, sum + n + j, p + j, rows, row_stride);
    for (; j < n; j++) {
        double s = sum[j], c = sum[n + j];
        for (int64_t r = 0; r < rows; r++)
            FC_ADD_PAIR(s, c, p[r * row_stride + j * stride]);
        sum[j] = s;
        sum[n + j] = c;
    }
}

#define FC_INNER_ENTRY(dtype, T, ACC, OP) [FC_SLOT_##dtype] = inner_##OP##_##dtype,
#define FC_OUTER_ENTRY(dtype, T, ACC, OP) [FC_SLOT_##dtype] = outer_##OP##_##dtype,
#define FC_ROW(ENTRY, OP, side) {FC_EACH_ACC(ENTRY, OP) [FC_BOOL] = side##_##OP##_u8}
static const fc_reduce_inner fc_reduce_inner_rows[FC_REDUCTIONS + 1][FC_DTYPES] = {
    [FC_SUM] = FC_ROW(FC_INNER_ENTRY, SUM, inner),
    [FC_PROD] = FC_ROW(FC_INNER_ENTRY, PROD, inner),
    [FC_MAX] = FC_ROW(FC_INNER_ENTRY, MAX, inner),
    [FC_MIN] = FC_ROW(FC_INNER_ENTRY, MIN, inner),
    [FC_SUM_PAIRS] = {[FC_F32] = inner_pairs_f32},
};
static const fc_reduce_outer fc_reduce_outer_rows[FC_REDUCTIONS + 1][FC_DTYPES] = {
    [FC_SUM] = FC_ROW(FC_OUTER_ENTRY, SUM, outer),
    [FC_PROD] = FC_ROW(FC_OUTER_ENTRY, PROD, outer),
    [FC_MAX] = FC_ROW(FC_OUTER_ENTRY, MAX, outer),
    [FC_MIN] = FC_ROW(FC_OUTER_ENTRY, MIN, outer),
    [FC_SUM_PAIRS] = {[FC_F32] = outer_pairs_f32},
};

/* The first largest (or smallest) of each column; the first NaN beats all. */
#define FC_DEFINE_ARG(dtype, T, _) \
    static void arg_outer_##dtype(int64_t *index, const void *x, int64_t rows, int64_t row_stride, int64_t n, \
                                  int64_t stride, int largest) { \
        for (int64_t j = 0; j < n; j++) { \
            const T *p = (const T *)x + j * stride; \
            T best = p[0]; \
            int64_t at = 0; \
            for (int64_t r = 1; r < rows && best == best; r++) { \
                const T v = p[r * row_stride]; \
                if ((largest ? v > best : v < best) || v != v) { \
                    best = v; \
                    at = r; \
                } \
            } \
            index[j] = at; \
        } \
    }
FC_EACH_ANY(FC_DEFINE_ARG, )
#define FC_ARG_ENTRY(dtype, T, _) [FC_SLOT_##dtype] = arg_outer_##dtype,
static const fc_arg_outer fc_arg_outer_row[FC_DTYPES] = {FC_EACH_ANY(FC_ARG_ENTRY, )};

/* acc += sum of (x - mean)**2 */
#define FC_DEFINE_CENTRED(dtype, T) \
    static void centred_inner_##dtype(double *acc, const void *x, int64_t n, int64_t stride, double mean) { \
        const T *p = x; \
        double lane[FC_LANES] = {0}, total = *acc; \
        int64_t i = 0; \
        for (; stride == 1 && i + FC_LANES <= n; i += FC_LANES) \
            FC_SIMD for (int l = 0; l < FC_LANES; l++) { \
                const double v = p[i + l] - mean; \
                lane[l] += v * v; \
            } \
        for (int l = 0; l < FC_LANES; l++) \
            total += lane[l]; \
        for (; i < n; i++) { \
            const double v = p[i * stride] - mean; \
            total += v * v; \
        } \
        *acc = total; \
    } \
    FC_INLINE void centred_columns_##dtype(const int width, double *acc, const T *p, int64_t rows, \
                                           int64_t row_stride, const double *mean) { \
        double lane[FC_LANES], centre[FC_LANES]; \
        for (int l = 0; l < width; l++) \
            lane[l] = acc[l], centre[l] = mean[l]; \
        for (int64_t r = 0; r < rows; r++) \
            FC_SIMD for (int l = 0; l < width; l++) { \
                const double v = p[r * row_stride + l] - centre[l]; \
                lane[l] += v * v; \
            } \
        for (int l = 0; l < width; l++) \
            acc[l] = lane[l]; \
    } \
    static void centred_outer_##dtype(double *acc, const void *x, int64_t rows, int64_t row_stride, int64_t n, \
                                      int64_t stride, const double *mean) { \
        const T *p = x; \
        int64_t j = 0; \
        for (; stride == 1 && j + 16 <= n; j += 16) \
            centred_columns_##dtype(16, acc + j, p + j, rows, row_stride, mean + j); \
        for (; j < n; j++) \
            for (int64_t r = 0; r < rows; r++) { \
                const double v = p[r * row_stride + j * stride] - mean[j]; \
                acc[j] += v * v; \
            } \
    }
FC_DEFINE_CENTRED(f32, float)
FC_DEFINE_CENTRED(f64, double)

/* sum_g += sum of g, sum_gx += sum of g * (x - mean); of float32 as pairs, below */
#define FC_DEFINE_PRODUCT(dtype, T) \
    static void product_inner_##dtype(double *sum_g, double *sum_gx, const void *g, const void *x, int64_t n, \
                                      int64_t g_stride, int64_t x_stride, double mean) { \
        const T *q = g, *p = x; \
        double lane_g[FC_LANES] = {0}, lane_gx[FC_LANES] = {0}; \
        int64_t i = 0; \
        for (; g_stride == 1 && x_stride == 1 && i + FC_LANES <= n; i += FC_LANES) \
            FC_SIMD for (int l = 0; l < FC_LANES; l++) { \
                const double v = q[i + l]; \
                lane_g[l] += v; \
                lane_gx[l] += v * (p[i + l] - mean); \
            } \
        for (int l = 0; l < FC_LANES; l++) { \
            *sum_g += lane_g[l]; \
            *sum_gx += lane_gx[l]; \
        } \
        for (; i < n; i++) { \
            const double v = q[i * g_stride]; \
            *sum_g += v; \
            *sum_gx += v * (p[i * x_stride] - mean); \
        } \
    } \
    static void product_outer_##dtype(double *sum_g, double *sum_gx, const void *g, const void *x, int64_t rows, \
                                      int64_t g_row, int64_t x_row, int64_t n, int64_t g_stride, int64_t x_stride, \
                                      const double *mean) { \
        const T *q = g, *p = x; \
        int64_t j = 0; \
        for (; g_stride == 1 && x_stride == 1 && j + 16 <= n; j += 16) { \
            double lane_g[16], lane_gx[16], centre[16]; \
            for (int l = 0; l < 16; l++) \
                lane_g[l] = sum_g[j + l], lane_gx[l] = sum_gx[j + l], centre[l] = mean[j + l]; \
            for (int64_t r = 0; r < rows; r++) \
                FC_SIMD for (int l = 0; l < 16; l++) { \
                    const double v = q[r * g_row + j + l]; \
                    lane_g[l] += v; \
                    lane_gx[l] += v * (p[r * x_row + j + l] - centre[l]); \
                } \
            for (int l = 0; l < 16; l++) \
                sum_g[j + l] = lane_g[l], sum_gx[j + l] = lane_gx[l]; \
        } \
        for (; j < n; j++) \
            for (int64_t r = 0; r < rows; r++) { \
                const double v = q[r * g_row + j * g_stride]; \
                sum_g[j] += v; \
                sum_gx[j] += v * (p[r * x_row + j * x_stride] - mean[j]); \
            } \
    }
FC_DEFINE_PRODUCT(f64, double)

/* A product rounded apart from what it is added to: -ffp-contract=fast would fuse a plain one. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define FC_PRODUCT(a, b) __builtin_fma(a, b, 0.0)
#else
#define FC_PRODUCT(a, b) ((a) * (b))
#endif

static void product_inner_f32(double *sum_g, double *sum_gx, const void *g, const void *x, int64_t n,
                              int64_t g_stride, int64_t x_stride, double mean)
{
    const float *q = g, *p = x;
    int64_t i = 0;
    if (g_stride == 1 && x_stride == 1 && n >= FC_PAIRS) {
        double s_g[FC_PAIRS] = {0}, c_g[FC_PAIRS] = {0}, s_gx[FC_PAIRS] = {0}, c_gx[FC_PAIRS] = {0};
        for (; i + FC_PAIRS <= n; i += FC_PAIRS)
            FC_SIMD for (int l = 0; l < FC_PAIRS; l++) {
                const double v = q[i + l];
                FC_ADD_PAIR(s_g[l], c_g[l], v);
                FC_ADD_PAIR(s_gx[l], c_gx[l], FC_PRODUCT(v, p[i + l] - mean));
            }
        fold_pairs(s_g, c_g, sum_g, sum_g + 1);
        fold_pairs(s_gx, c_gx, sum_gx, sum_gx + 1);
    }
    for (; i < n; i++) {
        const double v = q[i * g_stride];
        FC_ADD_PAIR(sum_g[0], sum_g[1], v);
        FC_ADD_PAIR(sum_gx[0], sum_gx[1], FC_PRODUCT(v, p[i * x_stride] - mean));
    }
}

FC_INLINE void product_columns(const int width, double *sum_g, double *sum_gx, int64_t n, const float *q,
                               const float *p, int64_t rows, int64_t g_row, int64_t x_row, const double *mean)
{
    double s_g[FC_PAIRS], c_g[FC_PAIRS], s_gx[FC_PAIRS], c_gx[FC_PAIRS], centre[FC_PAIRS];
    for (int l = 0; l < width; l++) {
        s_g[l] = sum_g[l], c_g[l] = sum_g[n + l], s_gx[l] = sum_gx[l], c_gx[l] = sum_gx[n + l];
        centre[l] = mean[l];
    }
    for (int64_t r = 0; r < rows; r++)
        FC_SIMD for (int l = 0; l < width; l++) {
            const double v = q[r * g_row + l];
            FC_ADD_PAIR(s_g[l], c_g[l], v);
            FC_ADD_PAIR(s_gx[l], c_gx[l], FC_PRODUCT(v, p[r * x_row + l] - centre[l]));
        }
    for (int l = 0; l < width; l++)
        sum_g[l] = s_g[l], sum_g[n + l] = c_g[l], sum_gx[l] = s_gx[l], sum_gx[n + l] = c_gx[l];
}

static void product_outer_f32(double *sum_g, double *sum_gx, const void *g, const void *x, int64_t rows,
                              int64_t g_row, int64_t x_row, int64_t n, int64_t g_stride, int64_t x_stride,
                              const double *mean)
{
    const float *q = g, *p = x;
    int64_t j = 0;
    for (; g_stride == 1 && x_stride == 1 && j + FC_PAIRS <= n; j += FC_PAIRS)
        product_columns(FC_PAIRS, sum_g + j, sum_gx + j, n, q + j, p + j, rows, g_row, x_row, mean + j);
    for (; j < n; j++)
        product_columns(1, sum_g + j, sum_gx + j, n, q + j * g_stride, p + j * x_stride, rows, g_row, x_row, mean + j);
}

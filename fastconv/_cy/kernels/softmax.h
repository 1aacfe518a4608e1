/* Rows of softmax, log_softmax, cross-entropy and their gradients. The order of the sums is that of
 * reference.py, and cl/kernels/softmax.cl has the same expressions: they round alike.
 *
 * A few rows go through each pass together, as many as fit the cache: one row of a few columns is one
 * long chain of latencies, those of several rows overlap.
 */
#define FC_SOFTMAX_LANES 32
#define FC_MOST_ROWS 16
#define FC_TOGETHER(n) ((n) >= 1024 ? 1 : (n) >= 256 ? 4 : FC_MOST_ROWS)

/* Column j of row i of operand k */
#define FC_CELL(type, k, i, j) (((type *)p->data[k])[(i) * p->row[k] + (j) * p->step[k]])
#define FC_ROW_OF(type, k, i) ((type *)p->data[k] + (i) * p->row[k])

#define FC_FOLD(lane, STEP) do { \
    FC_UNROLL for (int span = FC_SOFTMAX_LANES / 2; span; span /= 2) \
        FC_SIMD for (int l = 0; l < span; l++) \
            lane[l] = STEP(lane[l], lane[l + span]); \
    } while (0)
#define FC_LARGER(a, b) ((b) > (a) ? (b) : (a))
#define FC_PLUS(a, b) ((a) + (b))

#define FC_DEFINE_SOFTMAX(dtype, T) \
    /* The end of a row that fills no block, filled up with -infinity: whole vectors, and e^x adds 0. */ \
    FC_INLINE void row_end_##dtype(T *end, const T *x, int64_t s, int64_t n) { \
        const int64_t left = n % FC_SOFTMAX_LANES; \
        FC_SIMD for (int l = 0; l < FC_SOFTMAX_LANES; l++) \
            end[l] = -INFINITY; \
        for (int64_t l = 0; l < left; l++) \
            end[l] = x[(n - left + l) * s]; \
    } \
    FC_INLINE T row_max_##dtype(const T *x, int64_t s, int64_t n, const T *end) { \
        T lane[FC_SOFTMAX_LANES]; \
        FC_SIMD for (int l = 0; l < FC_SOFTMAX_LANES; l++) \
            lane[l] = end[l]; \
        for (int64_t j = 0; j + FC_SOFTMAX_LANES <= n; j += FC_SOFTMAX_LANES) \
            FC_SIMD for (int l = 0; l < FC_SOFTMAX_LANES; l++) \
                lane[l] = FC_LARGER(lane[l], x[(j + l) * s]); \
        FC_FOLD(lane, FC_LARGER); \
        return lane[0]; \
    } \
    /* The sum of exp(x - top); the terms themselves to y, unless NULL. */ \
    FC_INLINE T row_exp_sum_##dtype(T *y, int64_t sy, const T *x, int64_t s, int64_t n, T *end, T top) { \
        double lane[FC_SOFTMAX_LANES] = {0}; \
        int64_t j = 0; \
        for (; j + FC_SOFTMAX_LANES <= n; j += FC_SOFTMAX_LANES) \
            FC_SIMD for (int l = 0; l < FC_SOFTMAX_LANES; l++) { \
                const T e = FC_EXP(x[(j + l) * s] - top); \
                if (y) \
                    y[(j + l) * sy] = e; \
                lane[l] += e; \
            } \
        if (j < n) { \
            FC_SIMD for (int l = 0; l < FC_SOFTMAX_LANES; l++) { \
                end[l] = FC_EXP(end[l] - top); \
                lane[l] += end[l]; \
            } \
            for (int l = 0; y && j + l < n; l++) \
                y[(j + l) * sy] = end[l]; \
        } \
        FC_FOLD(lane, FC_PLUS); \
        return (T)lane[0]; \
    } \
    /* operands: out, x */ \
    FC_INLINE void softmax_rows_##dtype(const fc_rows *p, int64_t first, int64_t rows, int is_log, int64_t sy, int64_t s) { \
        T top[FC_MOST_ROWS], total[FC_MOST_ROWS] = {0}, end[FC_MOST_ROWS][FC_SOFTMAX_LANES]; \
        for (int64_t i = 0; i < rows; i++) \
            row_end_##dtype(end[i], FC_ROW_OF(const T, 1, first + i), s, p->n); \
        for (int64_t i = 0; i < rows; i++) \
            top[i] = row_max_##dtype(FC_ROW_OF(const T, 1, first + i), s, p->n, end[i]); \
        for (int64_t i = 0; i < rows; i++) \
            total[i] = row_exp_sum_##dtype(is_log ? NULL : FC_ROW_OF(T, 0, first + i), sy, FC_ROW_OF(const T, 1, first + i), \
                                           s, p->n, end[i], top[i]); \
        FC_SIMD for (int i = 0; i < FC_MOST_ROWS; i++) \
            total[i] = is_log ? FC_LOG(total[i]) : 1 / total[i]; \
        for (int64_t i = 0; i < rows; i++) { \
            T *y = FC_ROW_OF(T, 0, first + i); \
            const T *x = FC_ROW_OF(const T, 1, first + i), highest = top[i], sum = total[i]; \
            if (is_log) \
                FC_SIMD for (int64_t j = 0; j < p->n; j++) \
                    y[j * sy] = (x[j * s] - highest) - sum; \
            else \
                FC_SIMD for (int64_t j = 0; j < p->n; j++) \
                    y[j * sy] *= sum; \
        } \
    } \
    static void softmax_##dtype(const fc_rows *p, int64_t first, int64_t rows, int is_log) { \
        for (int64_t left = rows, n; left; left -= n, first += n) { \
            n = left < FC_TOGETHER(p->n) ? left : FC_TOGETHER(p->n); \
            if (p->step[0] == 1 && p->step[1] == 1) \
                softmax_rows_##dtype(p, first, n, is_log, 1, 1); \
            else \
                softmax_rows_##dtype(p, first, n, is_log, p->step[0], p->step[1]); \
        } \
    } \
    FC_INLINE void softmax_grad_row_##dtype(T *d, int64_t sd, const T *g, int64_t sg, const T *y, int64_t sy, int64_t n, \
                                            int is_log) { \
        double lane[FC_SOFTMAX_LANES] = {0}; \
        int64_t j = 0; \
        for (; j + FC_SOFTMAX_LANES <= n; j += FC_SOFTMAX_LANES) \
            FC_SIMD for (int l = 0; l < FC_SOFTMAX_LANES; l++) \
                lane[l] += is_log ? (double)g[(j + l) * sg] : (double)g[(j + l) * sg] * (double)y[(j + l) * sy]; \
        for (int l = 0; j + l < n; l++) \
            lane[l] += is_log ? (double)g[(j + l) * sg] : (double)g[(j + l) * sg] * (double)y[(j + l) * sy]; \
        FC_FOLD(lane, FC_PLUS); \
        const T total = (T)lane[0]; \
        if (is_log) \
            FC_SIMD for (j = 0; j < n; j++) \
                d[j * sd] = FC_FMA(-FC_EXP(y[j * sy]), total, g[j * sg]); \
        else \
            FC_SIMD for (j = 0; j < n; j++) \
                d[j * sd] = y[j * sy] * (g[j * sg] - total); \
    } \
    /* operands: out, g, y */ \
    static void softmax_grad_##dtype(const fc_rows *p, int64_t first, int64_t rows, int is_log) { \
        for (int64_t i = first; i < first + rows; i++) { \
            T *d = FC_ROW_OF(T, 0, i); \
            const T *g = FC_ROW_OF(const T, 1, i), *y = FC_ROW_OF(const T, 2, i); \
            if (p->step[0] == 1 && p->step[1] == 1 && p->step[2] == 1) \
                softmax_grad_row_##dtype(d, 1, g, 1, y, 1, p->n, is_log); \
            else \
                softmax_grad_row_##dtype(d, p->step[0], g, p->step[1], y, p->step[2], p->n, is_log); \
        } \
    } \
    /* operands: x, loss, top, total, labels */ \
    FC_INLINE void cross_entropy_rows_##dtype(const fc_rows *p, int64_t first, int64_t rows, int64_t s) { \
        T top[FC_MOST_ROWS], total[FC_MOST_ROWS] = {0}, log_total[FC_MOST_ROWS], end[FC_MOST_ROWS][FC_SOFTMAX_LANES]; \
        for (int64_t i = 0; i < rows; i++) \
            row_end_##dtype(end[i], FC_ROW_OF(const T, 0, first + i), s, p->n); \
        for (int64_t i = 0; i < rows; i++) \
            top[i] = row_max_##dtype(FC_ROW_OF(const T, 0, first + i), s, p->n, end[i]); \
        for (int64_t i = 0; i < rows; i++) \
            total[i] = row_exp_sum_##dtype(NULL, 0, FC_ROW_OF(const T, 0, first + i), s, p->n, end[i], top[i]); \
        FC_SIMD for (int i = 0; i < FC_MOST_ROWS; i++) \
            log_total[i] = FC_LOG(total[i]); \
        for (int64_t i = 0; i < rows; i++) { \
            const int64_t label = FC_CELL(const int64_t, 4, first + i, 0); \
            FC_CELL(T, 1, first + i, 0) = label < 0 ? 0 : log_total[i] - (FC_CELL(const T, 0, first + i, label) - top[i]); \
            FC_CELL(T, 2, first + i, 0) = top[i]; \
            FC_CELL(T, 3, first + i, 0) = total[i]; \
        } \
    } \
    static void cross_entropy_##dtype(const fc_rows *p, int64_t first, int64_t rows, int is_log) { \
        (void)is_log; \
        for (int64_t left = rows, n; left; left -= n, first += n) { \
            n = left < FC_TOGETHER(p->n) ? left : FC_TOGETHER(p->n); \
            if (p->step[0] == 1) \
                cross_entropy_rows_##dtype(p, first, n, 1); \
            else \
                cross_entropy_rows_##dtype(p, first, n, p->step[0]); \
        } \
    } \
    FC_INLINE void cross_entropy_grad_row_##dtype(T *d, int64_t sd, const T *x, int64_t s, int64_t n, T top, T factor) { \
        FC_SIMD for (int64_t j = 0; j < n; j++) \
            d[j * sd] = FC_EXP(x[j * s] - top) * factor; \
    } \
    /* operands: out, x, g, top, total, labels */ \
    static void cross_entropy_grad_##dtype(const fc_rows *p, int64_t first, int64_t rows, int is_log) { \
        (void)is_log; \
        for (int64_t i = first; i < first + rows; i++) { \
            T *d = FC_ROW_OF(T, 0, i); \
            const T *x = FC_ROW_OF(const T, 1, i), g = FC_CELL(const T, 2, i, 0), top = FC_CELL(const T, 3, i, 0); \
            const T factor = g / FC_CELL(const T, 4, i, 0); \
            const int64_t label = FC_CELL(const int64_t, 5, i, 0); \
            if (label < 0) { \
                for (int64_t j = 0; j < p->n; j++) \
                    d[j * p->step[0]] = 0; \
                continue; \
            } \
            if (p->step[0] == 1 && p->step[1] == 1) \
                cross_entropy_grad_row_##dtype(d, 1, x, 1, p->n, top, factor); \
            else \
                cross_entropy_grad_row_##dtype(d, p->step[0], x, p->step[1], p->n, top, factor); \
            d[label * p->step[0]] = FC_FMA(FC_EXP(x[label * p->step[1]] - top), factor, -g); \
        } \
    }
FC_DEFINE_SOFTMAX(f32, float)
FC_DEFINE_SOFTMAX(f64, double)

/* The register tile, its packers and its store, for one element type T (included once for each).
 *
 * A tile is R rows by V vectors of C, held in registers while K runs; every row count up to
 * FC_TILE_ROWS is its own instance, so that edges run at full speed. Vector types rather than loops:
 * compilers keep these accumulators in registers, and spill those of a loop. K comes in spans, stretches
 * of A and of B in place, so that one pass over registers covers all taps of a kernel.
 */
#define FC(name) FC_CAT(name, SUFFIX)
#define LANES ((int64_t)(FC_VECTOR_BYTES / sizeof(T)))
#define NR (2 * LANES)
#ifndef FC_SEGMENT
#define FC_SEGMENT 1024
#define FC_ROW_STRIDE (FC_SEGMENT + 16)             /* of A packed as rows: with slack, off powers of two */
#define FC_THREES ((FC_TILE_ROWS + 2) / 3)
/* The compiler must not derive one pointer from another: it would run out of registers for the sums. */
#define FC_KEEP(p) __asm__("" : "+r"(p))
#endif

typedef T FC(vec) __attribute__((vector_size(FC_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
#define VEC FC(vec)
#define LOAD(p) (*(const VEC *)(p))
#define STORE(p, v) (*(VEC *)(p) = (v))

/* One k: by rows, three rows share a pointer (x86 addresses p, p + stride, p + 2 * stride). */
FC_INLINE void FC(tile_step)(const int rows, const int vectors, const int by_rows, const T *const *p, int64_t a_stride,
                             const int u, const T *b, VEC acc[FC_TILE_ROWS][2]) {
    VEC bv[2];
    FC_UNROLL for (int v = 0; v < vectors; v++)
        bv[v] = LOAD(b + v * LANES);
    FC_UNROLL for (int r = 0; r < rows; r++) {
        const T ar = by_rows ? p[r / 3][r % 3 * a_stride + u] : p[0][r];
        FC_UNROLL for (int v = 0; v < vectors; v++)
            acc[r][v] += ar * bv[v];
    }
}

FC_INLINE void FC(tile_span)(const int rows, const int vectors, const int by_rows, const T *a, int64_t a_stride,
                             const T *b, int64_t b_stride, int64_t n, VEC acc[FC_TILE_ROWS][2]) {
    const int threes = by_rows ? (rows + 2) / 3 : 1;
    const T *p[FC_THREES];
    FC_UNROLL for (int q = 0; q < threes; q++)
        p[q] = a + 3 * q * a_stride;
    if (by_rows)
        for (; n >= 4; n -= 4) {
            FC_UNROLL for (int q = 0; q < threes; q++)
                FC_KEEP(p[q]);
            FC_UNROLL for (int u = 0; u < 4; u++, b += b_stride)
                FC(tile_step)(rows, vectors, 1, p, a_stride, u, b, acc);
            FC_UNROLL for (int q = 0; q < threes; q++)
                p[q] += 4;
        }
    for (; n > 0; n--, b += b_stride) {
        FC_UNROLL for (int q = 0; q < threes; q++)
            FC_KEEP(p[q]);
        FC(tile_step)(rows, vectors, by_rows, p, a_stride, 0, b, acc);
        FC_UNROLL for (int q = 0; q < threes; q++)
            p[q] += by_rows ? 1 : a_stride;
    }
}

FC_INLINE void FC(tile_rows)(const int rows, const int vectors, const int by_rows, const T *a, int64_t a_stride,
                             const T *b, int64_t b_stride, const fc_span *spans, int64_t n_spans, T *c,
                             int64_t c_stride, int accumulate) {
    VEC acc[FC_TILE_ROWS][2];
    if (accumulate)
        FC_UNROLL for (int r = 0; r < rows; r++)
            FC_UNROLL for (int v = 0; v < vectors; v++)
                acc[r][v] = LOAD(c + r * c_stride + v * LANES);
    else
        FC_UNROLL for (int r = 0; r < rows; r++)
            FC_UNROLL for (int v = 0; v < vectors; v++)
                acc[r][v] = (VEC){0};
    for (const fc_span *s = spans; s < spans + n_spans; s++)
        FC(tile_span)(rows, vectors, by_rows, a + s->a, a_stride, b + s->b, b_stride, s->n, acc);
    FC_UNROLL for (int r = 0; r < rows; r++)
        FC_UNROLL for (int v = 0; v < vectors; v++)
            STORE(c + r * c_stride + v * LANES, acc[r][v]);
}

#define FC_DEFINE_TILE(R) \
    static void FC(tile_##R)(int vectors, int by_rows, const T *a, int64_t a_stride, const T *b, int64_t b_stride, \
                             const fc_span *spans, int64_t n_spans, T *c, int64_t c_stride, int accumulate) { \
        if (vectors == 2 && by_rows) \
            FC(tile_rows)(R, 2, 1, a, a_stride, b, b_stride, spans, n_spans, c, c_stride, accumulate); \
        else if (vectors == 2) \
            FC(tile_rows)(R, 2, 0, a, a_stride, b, b_stride, spans, n_spans, c, c_stride, accumulate); \
        else if (by_rows) \
            FC(tile_rows)(R, 1, 1, a, a_stride, b, b_stride, spans, n_spans, c, c_stride, accumulate); \
        else \
            FC(tile_rows)(R, 1, 0, a, a_stride, b, b_stride, spans, n_spans, c, c_stride, accumulate); \
    }
FC_DEFINE_TILE(1) FC_DEFINE_TILE(2) FC_DEFINE_TILE(3) FC_DEFINE_TILE(4) FC_DEFINE_TILE(5) FC_DEFINE_TILE(6)
#if FC_TILE_ROWS == 14
FC_DEFINE_TILE(7) FC_DEFINE_TILE(8) FC_DEFINE_TILE(9) FC_DEFINE_TILE(10) FC_DEFINE_TILE(11) FC_DEFINE_TILE(12)
FC_DEFINE_TILE(13) FC_DEFINE_TILE(14)
#endif

static void FC(tile)(int rows, int by_rows, const void *a, int64_t a_stride, const void *b, int64_t b_stride,
                     const fc_span *spans, int64_t n_spans, void *c, int64_t c_stride, int64_t columns,
                     int accumulate) {
    static void (*const tiles[])(int, int, const T *, int64_t, const T *, int64_t, const fc_span *, int64_t, T *, int64_t,
                                 int) = {
        0, FC(tile_1), FC(tile_2), FC(tile_3), FC(tile_4), FC(tile_5), FC(tile_6),
#if FC_TILE_ROWS == 14
        FC(tile_7), FC(tile_8), FC(tile_9), FC(tile_10), FC(tile_11), FC(tile_12), FC(tile_13), FC(tile_14),
#endif
    };
    tiles[rows](columns > LANES ? 2 : 1, by_rows, a, a_stride, b, b_stride, spans, n_spans, c, c_stride, accumulate);
}

/* --- transposing: LANES x LANES elements; log2(LANES) rounds of a perfect shuffle ---------------- */

#if FC_VECTOR_BYTES == 64
#define FC_LOW_f32 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define FC_HIGH_f32 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define FC_LOW_f64 0, 8, 1, 9, 2, 10, 3, 11
#define FC_HIGH_f64 4, 12, 5, 13, 6, 14, 7, 15
#elif FC_VECTOR_BYTES == 32
#define FC_LOW_f32 0, 8, 1, 9, 2, 10, 3, 11
#define FC_HIGH_f32 4, 12, 5, 13, 6, 14, 7, 15
#define FC_LOW_f64 0, 4, 1, 5
#define FC_HIGH_f64 2, 6, 3, 7
#else
#define FC_LOW_f32 0, 4, 1, 5
#define FC_HIGH_f32 2, 6, 3, 7
#define FC_LOW_f64 0, 2
#define FC_HIGH_f64 1, 3
#endif

/* dst[i * dst_stride + j] = src[j * src_stride + i] */
FC_INLINE void FC(transpose)(T *dst, int64_t dst_stride, const T *src, int64_t src_stride) {
    VEC row[LANES], next[LANES];
    FC_UNROLL for (int i = 0; i < (int)LANES; i++)
        row[i] = LOAD(src + i * src_stride);
    FC_UNROLL for (int round = 1; round < (int)LANES; round *= 2) {
        FC_UNROLL for (int i = 0; i < (int)LANES / 2; i++) {
            next[2 * i] = __builtin_shufflevector(row[i], row[i + LANES / 2], FC_CAT(FC_LOW, SUFFIX));
            next[2 * i + 1] = __builtin_shufflevector(row[i], row[i + LANES / 2], FC_CAT(FC_HIGH, SUFFIX));
        }
        FC_UNROLL for (int i = 0; i < (int)LANES; i++)
            row[i] = next[i];
    }
    FC_UNROLL for (int i = 0; i < (int)LANES; i++)
        STORE(dst + i * dst_stride, row[i]);
}

/* The same over rows x columns of dst, whole tiles and edges. */
static void FC(transpose_block)(void *dst, int64_t dst_stride, const void *src, int64_t src_stride, int64_t rows,
                                int64_t columns) {
    T *d = dst;
    const T *s = src;
    for (int64_t i = 0; i < rows; i += LANES)
        for (int64_t j = 0; j < columns; j += LANES) {
            if (i + LANES <= rows && j + LANES <= columns) {
                FC(transpose)(d + i * dst_stride + j, dst_stride, s + j * src_stride + i, src_stride);
                continue;
            }
            for (int64_t a = i; a < rows && a < i + LANES; a++)
                for (int64_t b = j; b < columns && b < j + LANES; b++)
                    d[a * dst_stride + b] = s[b * src_stride + a];
        }
}

/* --- packing: copies of whole vectors, left to right; what one spills the next overwrites ------ */

FC_INLINE void FC(copy_run)(T *dst, const T *src, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES)
        STORE(dst + i, LOAD(src + i));
}

FC_INLINE void FC(zero_run)(T *dst, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES)
        STORE(dst + i, (VEC){0});
}

/* Elements [first, first + length) of a patch row of taps * c values that starts at x, where the
 * taps in [lo, hi) lie inside the image. Taps further than c apart come one to a run. */
FC_INLINE void FC(pack_run)(T *dst, const fc_image *im, const fc_run *run, const T *x, int64_t lo, int64_t hi) {
    const int64_t c = im->size[4], first = run->first, end = first + run->length;
    int64_t from = lo * c, to = hi * c;
    from = from < first ? first : from > end ? end : from;
    to = to > end ? end : to < from ? from : to;
    FC(zero_run)(dst, from - first);
    if (im->stride[4] == 1)
        FC(copy_run)(dst + from - first, x + from, to - from);
    else
        for (int64_t e = from; e < to; e++)
            dst[e - first] = x[e * im->stride[4]];
    FC(zero_run)(dst + to - first, end - to);
}

FC_INLINE void FC(decode)(const fc_image *im, int64_t pixel, int64_t at[4]) {
    at[3] = pixel % im->out[2];
    pixel /= im->out[2];
    at[2] = pixel % im->out[1];
    pixel /= im->out[1];
    at[1] = pixel % im->out[0];
    at[0] = pixel / im->out[0];
}

FC_INLINE void FC(advance)(const fc_image *im, int64_t at[4]) {
    if (++at[3] < im->out[2])
        return;
    at[3] = 0;
    if (++at[2] < im->out[1])
        return;
    at[2] = 0;
    if (++at[1] < im->out[0])
        return;
    at[1] = 0;
    at[0]++;
}

/* Runs of one length, V vectors each, from a patch that lies inside the image. */
FC_INLINE void FC(copy_runs)(const int vectors, T *row, const T *x, const fc_run *runs, int64_t n_runs,
                             int64_t length) {
    for (const fc_run *run = runs; run < runs + n_runs; run++, row += length)
        FC_UNROLL for (int v = 0; v < vectors; v++)
            STORE(row + v * LANES, LOAD(x + run->offset + v * LANES));
}

static void FC(copy_patch)(T *row, const T *x, const fc_run *runs, int64_t n_runs, int64_t length) {
    switch (length > 0 ? (length + LANES - 1) / LANES : 0) {
    case 1: FC(copy_runs)(1, row, x, runs, n_runs, length); return;
    case 2: FC(copy_runs)(2, row, x, runs, n_runs, length); return;
    case 3: FC(copy_runs)(3, row, x, runs, n_runs, length); return;
    case 4: FC(copy_runs)(4, row, x, runs, n_runs, length); return;
    case 6: FC(copy_runs)(6, row, x, runs, n_runs, length); return;
    case 8: FC(copy_runs)(8, row, x, runs, n_runs, length); return;
    case 12: FC(copy_runs)(12, row, x, runs, n_runs, length); return;
    }
    for (const fc_run *run = runs; run < runs + n_runs; row += run->length, run++)
        FC(copy_run)(row, x + run->offset, run->length);
}

/* What the runs of a call reach, relative to a pixel: their bounding box, and their common length. */
typedef struct {
    int64_t d0, d1, h0, h1, w0, w1, length;
} FC(reach);

FC_INLINE FC(reach) FC(reach_of)(const fc_run *runs, int64_t n_runs) {
    FC(reach) e = {runs->d, runs->d, runs->h, runs->h, runs->w, runs->w, runs->length};
    for (const fc_run *run = runs; run < runs + n_runs; run++) {
        const int64_t w1 = run->w + run->taps - 1;
        e.d1 = run->d > e.d1 ? run->d : e.d1;           /* runs come in the order of d, then h */
        e.h0 = run->h < e.h0 ? run->h : e.h0;
        e.h1 = run->h > e.h1 ? run->h : e.h1;
        e.w0 = run->w < e.w0 ? run->w : e.w0;
        e.w1 = w1 > e.w1 ? w1 : e.w1;
        e.length = run->length == e.length ? e.length : -1;
    }
    return e;
}

static void FC(pack_rows)(void *dst, int64_t dst_stride, const fc_image *im, int64_t pixel, int64_t rows,
                          const fc_run *runs, int64_t n_runs) {
    int64_t at[4];
    FC(decode)(im, pixel, at);
    const FC(reach) e = FC(reach_of)(runs, n_runs);
    for (int64_t r = 0; r < rows; r++, FC(advance)(im, at)) {
        T *row = (T *)dst + r * dst_stride;
        const int64_t d0 = at[1] * im->step[0] + im->origin[0];
        const int64_t h0 = at[2] * im->step[1] + im->origin[1];
        const int64_t w0 = at[3] * im->step[2] + im->origin[2];
        const T *x = (const T *)im->x + at[0] * im->stride[0] + d0 * im->stride[1] + h0 * im->stride[2]
                     + w0 * im->stride[3];
        if (im->stride[4] == 1 && d0 + e.d0 >= 0 && d0 + e.d1 < im->size[1] && h0 + e.h0 >= 0
            && h0 + e.h1 < im->size[2] && w0 + e.w0 >= 0 && w0 + e.w1 < im->size[3]) {
            FC(copy_patch)(row, x, runs, n_runs, e.length);
            continue;
        }
        for (const fc_run *run = runs; run < runs + n_runs; run++) {
            const int64_t d = d0 + run->d, h = h0 + run->h, w = w0 + run->w;
            if (d < 0 || d >= im->size[1] || h < 0 || h >= im->size[2]) {
                FC(zero_run)(row, run->length);
            } else {
                const int64_t lo = w < 0 ? -w : 0;
                const int64_t hi = w + run->taps > im->size[3] ? im->size[3] - w : run->taps;
                FC(pack_run)(row, im, run, x + run->offset - run->first * im->stride[4], lo, hi);
            }
            row += run->length;
        }
    }
}

/* Pixels side by side in w fill a stretch of each column; runs have one tap here. */
static void FC(pack_columns)(void *dst, int64_t dst_stride, const fc_image *im, int64_t pixel, int64_t rows,
                             const fc_run *runs, int64_t n_runs) {
    int64_t at[4];
    FC(decode)(im, pixel, at);
    const int64_t step = im->step[2] * im->stride[3];
    for (int64_t r = 0, n; r < rows; r += n) {
        n = im->out[2] - at[3];
        n = n > rows - r ? rows - r : n;
        const int64_t d0 = at[1] * im->step[0] + im->origin[0];
        const int64_t h0 = at[2] * im->step[1] + im->origin[1];
        const int64_t w0 = at[3] * im->step[2] + im->origin[2];
        T *column = (T *)dst + r;
        for (const fc_run *run = runs; run < runs + n_runs; run++) {
            const int64_t d = d0 + run->d, h = h0 + run->h, w = w0 + run->w;
            /* pixels [lo, hi) of the n read inside the image */
            int64_t lo = 0, hi = n;
            if (d < 0 || d >= im->size[1] || h < 0 || h >= im->size[2])
                hi = 0;
            while (lo < hi && w + lo * im->step[2] < 0)
                lo++;
            while (hi > lo && w + (hi - 1) * im->step[2] >= im->size[3])
                hi--;
            const T *x = (const T *)im->x + at[0] * im->stride[0] + d * im->stride[1] + h * im->stride[2]
                         + w * im->stride[3] + run->first * im->stride[4];
            for (int64_t c = 0; c < run->length; c++, column += dst_stride, x += im->stride[4]) {
                for (int64_t i = 0; i < lo; i++)
                    column[i] = 0;
                if (step == 1)
                    for (int64_t i = lo; i < hi; i++)
                        column[i] = x[i];
                else
                    for (int64_t i = lo; i < hi; i++)
                        column[i] = x[i * step];
                for (int64_t i = hi; i < n; i++)
                    column[i] = 0;
            }
        }
        at[3] += n - 1;
        FC(advance)(im, at);
    }
}

/* Rows of B for `columns` outputs, cut into panels of NR with zeros beyond the last. */
static void FC(pack_b)(void *dst, int64_t dst_panel, const void *b, int64_t k, int64_t k_stride, int64_t columns,
                       int64_t column_stride) {
    const int64_t whole = columns / NR * NR;
    int64_t p = 0;
    if (column_stride == 1) {
        for (; p < k; p++) {
            const T *s = (const T *)b + p * k_stride;
            T *d = (T *)dst + p * NR;
            for (int64_t j = 0; j < whole; j += NR, d += dst_panel) {
                STORE(d, LOAD(s + j));
                STORE(d + LANES, LOAD(s + j + LANES));
            }
            if (whole < columns)
                for (int64_t j = 0; j < NR; j++)
                    d[j] = whole + j < columns ? s[whole + j] : 0;
        }
        return;
    }
    for (int64_t j0 = 0; j0 < columns; j0 += LANES) {
        T *d = (T *)dst + j0 / NR * dst_panel + j0 % NR;
        const T *s = (const T *)b + j0 * column_stride;
        p = 0;
        if (k_stride == 1 && columns - j0 >= LANES)
            for (; p + LANES <= k; p += LANES)
                FC(transpose)(d + p * NR, NR, s + p, column_stride);
        for (; p < k; p++)
            for (int64_t j = 0; j < LANES; j++)
                d[p * NR + j] = j0 + j < columns ? s[p * k_stride + j * column_stride] : 0;
        if (columns - j0 <= LANES && j0 % NR == 0)
            for (p = 0; p < k; p++)
                STORE(d + p * NR + LANES, (VEC){0});
    }
}

/* Patches of c elements side by side: dst[i * c + e] = src[i * step + e * src_channel]. */
FC_INLINE void FC(interleave)(T *dst, const T *src, const int c, int64_t n, int64_t src_channel) {
    for (int64_t i = 0; i < n; i++)
        FC_UNROLL for (int e = 0; e < c; e++)
            dst[i * c + e] = src[i + e * src_channel];
}

static void FC(copy_pixels)(void *dst, const void *src, int64_t n, int64_t c, int64_t src_pixel, int64_t src_channel) {
    T *d = dst;
    const T *s = src;
    if (src_channel == 1 && src_pixel == c) {
        FC(copy_run)(d, s, n * c);
    } else if (src_channel == 1) {
        for (int64_t i = 0; i < n; i++)
            FC(copy_run)(d + i * c, s + i * src_pixel, c);
    } else if (src_pixel == 1 && c == 2) {
        FC(interleave)(d, s, 2, n, src_channel);
    } else if (src_pixel == 1 && c == 3) {
        FC(interleave)(d, s, 3, n, src_channel);
    } else if (src_pixel == 1 && c == 4) {
        FC(interleave)(d, s, 4, n, src_channel);
    } else if (src_pixel == 1) {
        FC(transpose_block)(d, c, s, src_channel, n, c);
    } else {
        for (int64_t i = 0; i < n; i++)
            for (int64_t e = 0; e < c; e++)
                d[i * c + e] = s[i * src_pixel + e * src_channel];
    }
}

static void FC(copy_block)(void *dst, int64_t dst_row, int64_t dst_column, const void *src, int64_t src_row,
                           int64_t src_column, int64_t rows, int64_t columns) {
    T *d = dst;
    const T *s = src;
    if (dst_column == 1 && src_column == 1) {
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++)
                d[i * dst_row + j] = s[i * src_row + j];
        return;
    }
    if (dst_column == 1 && src_row == 1) {
        FC(transpose_block)(dst, dst_row, src, src_column, rows, columns);
        return;
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            d[i * dst_row + j * dst_column] = s[i * src_row + j * src_column];
}

FC_INLINE T FC(activate)(T x, const int activation) {
    if (activation != FC_NO_ACTIVATION && x < 0)
        return 0;
    return activation == FC_RELU6 && x > 6 ? 6 : x;
}

/* y = activation(s + bias); bias_step 0 adds one value to all. */
FC_INLINE void FC(finish)(T *y, const T *s, int64_t n, const T *bias, const int bias_step, const int activation) {
    if (bias)
        FC_SIMD for (int64_t i = 0; i < n; i++)
            y[i] = FC(activate)(s[i] + bias[i * bias_step], activation);
    else
        FC_SIMD for (int64_t i = 0; i < n; i++)
            y[i] = FC(activate)(s[i], activation);
}

static void FC(finish_row)(T *y, const T *s, int64_t n, const T *bias, int bias_step, int activation) {
    switch (2 * activation + (bias_step != 0)) {
    case 2 * FC_NO_ACTIVATION: FC(finish)(y, s, n, bias, 0, FC_NO_ACTIVATION); return;
    case 2 * FC_NO_ACTIVATION + 1: FC(finish)(y, s, n, bias, 1, FC_NO_ACTIVATION); return;
    case 2 * FC_RELU: FC(finish)(y, s, n, bias, 0, FC_RELU); return;
    case 2 * FC_RELU + 1: FC(finish)(y, s, n, bias, 1, FC_RELU); return;
    case 2 * FC_RELU6: FC(finish)(y, s, n, bias, 0, FC_RELU6); return;
    case 2 * FC_RELU6 + 1: FC(finish)(y, s, n, bias, 1, FC_RELU6); return;
    }
}

static void FC(store)(void *out, int64_t out_row, int64_t out_column, const void *c, int64_t c_stride,
                      int64_t rows, int64_t columns, const void *bias, int64_t bias_stride, int activation) {
    const T *s = c, *t = bias;
    T *y = out;
    if (out_column == 1 && (!bias || bias_stride == 1)) {
        for (int64_t r = 0; r < rows; r++)
            FC(finish_row)(y + r * out_row, s + r * c_stride, columns, t, 1, activation);
        return;
    }
    if (out_row == 1) {                         /* pixels side by side: NCHW */
        FC(transpose_block)(y, out_column, s, c_stride, columns, rows);
        for (int64_t j = 0; (bias || activation) && j < columns; j++)
            FC(finish_row)(y + j * out_column, y + j * out_column, rows, bias ? t + j * bias_stride : 0, 0, activation);
        return;
    }
    for (int64_t j = 0; j < columns; j++)
        for (int64_t r = 0; r < rows; r++) {
            const T sum = s[r * c_stride + j];
            T *to = y + r * out_row + j * out_column;
            FC(finish_row)(to, &sum, 1, bias ? t + j * bias_stride : 0, 0, activation);
        }
}

static void FC(axpy)(void *y, double a, const void *x, int64_t n, int64_t stride) {
    const T factor = (T)a, *s = x;
    T *d = y;
    if (stride == 1)
        FC_SIMD for (int64_t j = 0; j < n; j++)
            d[j] += factor * s[j];
    else
        for (int64_t j = 0; j < n; j++)
            d[j] += factor * s[j * stride];
}

static void FC(accumulate)(void *y, const void *x, int64_t n) {
    T *d = y;
    const T *s = x;
    FC_SIMD for (int64_t i = 0; i < n; i++)
        d[i] += s[i];
}

#include "depthwise.h"

typedef T FC(element);
#undef FC
#undef LANES
#undef NR
#undef VEC
#undef LOAD
#undef STORE

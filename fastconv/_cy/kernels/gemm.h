/* The register tile, its packers and its store, for one element type T (included once for each).
 *
 * A tile is R rows by V vectors of C, held in registers while K runs; every row count up to
 * FC_TILE_ROWS is its own instance, so that edges run at full speed. Vector types rather than loops:
 * compilers keep these accumulators in registers, and spill those of a loop.
 */
#define FC(name) FC_CAT(name, SUFFIX)
#define LANES ((int64_t)(FC_VECTOR_BYTES / sizeof(T)))
#define NR (2 * LANES)
/* Of A packed as rows: K segment + a vector of slack, off powers of two. */
#ifndef FC_SEGMENT
#define FC_SEGMENT 384
#define FC_ROW_STRIDE (FC_SEGMENT + 16)
#endif

typedef T FC(vec) __attribute__((vector_size(FC_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
#define VEC FC(vec)
#define LOAD(p) (*(const VEC *)(p))
#define STORE(p, v) (*(VEC *)(p) = (v))

FC_INLINE void FC(tile)(const int rows, const int vectors, const int by_rows, const T *a, int64_t a_stride,
                        const T *b, int64_t b_stride, T *c, int64_t c_stride, int64_t k, const int accumulate) {
    VEC acc[FC_TILE_ROWS][2];
    FC_UNROLL for (int r = 0; r < rows; r++)
        FC_UNROLL for (int v = 0; v < vectors; v++)
            acc[r][v] = accumulate ? LOAD(c + r * c_stride + v * LANES) : (VEC){0};
    for (int64_t p = 0; p < k; p++) {
        VEC bv[2];
        FC_UNROLL for (int v = 0; v < vectors; v++)
            bv[v] = LOAD(b + v * LANES);
        FC_UNROLL for (int r = 0; r < rows; r++) {
            const T ar = by_rows ? a[r * FC_ROW_STRIDE] : a[r];
            FC_UNROLL for (int v = 0; v < vectors; v++)
                acc[r][v] += ar * bv[v];
        }
        a += by_rows ? 1 : a_stride;
        b += b_stride;
    }
    FC_UNROLL for (int r = 0; r < rows; r++)
        FC_UNROLL for (int v = 0; v < vectors; v++)
            STORE(c + r * c_stride + v * LANES, acc[r][v]);
}

#define FC_DEFINE_TILE(R) \
    static void FC(tile_##R)(int vectors, int by_rows, const T *a, int64_t a_stride, const T *b, int64_t b_stride, \
                             T *c, int64_t c_stride, int64_t k, int accumulate) { \
        if (vectors == 2 && by_rows) \
            FC(tile)(R, 2, 1, a, a_stride, b, b_stride, c, c_stride, k, accumulate); \
        else if (vectors == 2) \
            FC(tile)(R, 2, 0, a, a_stride, b, b_stride, c, c_stride, k, accumulate); \
        else if (by_rows) \
            FC(tile)(R, 1, 1, a, a_stride, b, b_stride, c, c_stride, k, accumulate); \
        else \
            FC(tile)(R, 1, 0, a, a_stride, b, b_stride, c, c_stride, k, accumulate); \
    }
FC_DEFINE_TILE(1) FC_DEFINE_TILE(2) FC_DEFINE_TILE(3) FC_DEFINE_TILE(4) FC_DEFINE_TILE(5) FC_DEFINE_TILE(6)
#if FC_TILE_ROWS == 14
FC_DEFINE_TILE(7) FC_DEFINE_TILE(8) FC_DEFINE_TILE(9) FC_DEFINE_TILE(10) FC_DEFINE_TILE(11) FC_DEFINE_TILE(12)
FC_DEFINE_TILE(13) FC_DEFINE_TILE(14)
#endif

static void FC(panel)(int rows, int by_rows, const void *a, int64_t a_stride, const void *b, int64_t b_stride,
                      int64_t b_panel, void *c, int64_t c_stride, int64_t k, int64_t columns, int accumulate) {
    static void (*const tiles[])(int, int, const T *, int64_t, const T *, int64_t, T *, int64_t, int64_t, int) = {
        0, FC(tile_1), FC(tile_2), FC(tile_3), FC(tile_4), FC(tile_5), FC(tile_6),
#if FC_TILE_ROWS == 14
        FC(tile_7), FC(tile_8), FC(tile_9), FC(tile_10), FC(tile_11), FC(tile_12), FC(tile_13), FC(tile_14),
#endif
    };
    for (int64_t j = 0; j < columns; j += NR)
        tiles[rows](columns - j > LANES ? 2 : 1, by_rows, a, a_stride, (const T *)b + j / NR * b_panel, b_stride,
                    (T *)c + j, c_stride, k, accumulate);
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

static void FC(pack_rows)(void *dst, int64_t dst_stride, const fc_image *im, int64_t pixel, int64_t rows,
                          const fc_run *runs, int64_t n_runs) {
    int64_t at[4];
    FC(decode)(im, pixel, at);
    for (int64_t r = 0; r < rows; r++, FC(advance)(im, at)) {
        T *row = (T *)dst + r * dst_stride;
        const int64_t d0 = at[1] * im->step[0] + im->origin[0];
        const int64_t h0 = at[2] * im->step[1] + im->origin[1];
        const int64_t w0 = at[3] * im->step[2] + im->origin[2];
        const T *x = (const T *)im->x + at[0] * im->stride[0];
        for (const fc_run *run = runs; run < runs + n_runs; run++) {
            const int64_t d = d0 + run->d, h = h0 + run->h, w = w0 + run->w;
            if (d < 0 || d >= im->size[1] || h < 0 || h >= im->size[2]) {
                FC(zero_run)(row, run->length);
            } else {
                const int64_t lo = w < 0 ? -w : 0;
                const int64_t hi = w + run->taps > im->size[3] ? im->size[3] - w : run->taps;
                FC(pack_run)(row, im, run, x + d * im->stride[1] + h * im->stride[2] + w * im->stride[3], lo, hi);
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

static void FC(pack_b)(void *dst, const void *b, int64_t k, int64_t k_stride, int64_t columns, int64_t column_stride) {
    T *d = dst;
    const T *s = b;
    if (column_stride == 1 && columns == NR) {
        for (int64_t p = 0; p < k; p++) {
            STORE(d + p * NR, LOAD(s + p * k_stride));
            STORE(d + p * NR + LANES, LOAD(s + p * k_stride + LANES));
        }
        return;
    }
    for (int64_t p0 = 0; p0 < k; p0 += 32) {            /* blocks of K, for strides that jump between columns */
        const int64_t p1 = p0 + 32 < k ? p0 + 32 : k;
        for (int64_t j = 0; j < columns; j++)
            for (int64_t p = p0; p < p1; p++)
                d[p * NR + j] = s[p * k_stride + j * column_stride];
        for (int64_t p = p0; p < p1; p++)
            for (int64_t j = columns; j < NR; j++)
                d[p * NR + j] = 0;
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
    for (int64_t j0 = 0; j0 < columns; j0 += 16) {
        const int64_t j1 = j0 + 16 < columns ? j0 + 16 : columns;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = j0; j < j1; j++)
                d[i * dst_row + j * dst_column] = s[i * src_row + j * src_column];
    }
}

static void FC(store)(void *out, int64_t out_row, int64_t out_column, const void *c, int64_t c_stride,
                      int64_t rows, int64_t columns, const void *bias, int64_t bias_stride) {
    const T *s = c, *t = bias;
    T *y = out;
    if (out_column == 1 && (!bias || bias_stride == 1)) {
        for (int64_t r = 0; r < rows; r++) {
            if (bias)
                FC_SIMD for (int64_t j = 0; j < columns; j++)
                    y[r * out_row + j] = s[r * c_stride + j] + t[j];
            else
                FC_SIMD for (int64_t j = 0; j < columns; j++)
                    y[r * out_row + j] = s[r * c_stride + j];
        }
        return;
    }
    for (int64_t j = 0; j < columns; j++) {
        const T add = bias ? t[j * bias_stride] : 0;
        for (int64_t r = 0; r < rows; r++)
            y[r * out_row + j * out_column] = s[r * c_stride + j] + add;
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

typedef T FC(element);
#undef FC
#undef LANES
#undef NR
#undef VEC
#undef LOAD
#undef STORE

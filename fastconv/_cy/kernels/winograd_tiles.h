/* What Winograd convolution does to tiles: the transforms of winograd_math.h between memory and memory,
 * vectors of channels at a time, for one element type T and one TILE (included once for each pair).
 *
 * Transformed data come as one matrix per point, `point` elements apart. Squares of pixels are given
 * as a pointer per pixel, to its channels.
 */
#define FC(name) FC_CAT(FC_CAT(name, TILE), SUFFIX)
#define FC_SIDE (TILE + 2)
#define LANES ((int64_t)(FC_VECTOR_BYTES / sizeof(T)))
#define NR (2 * LANES)
#define VEC FC_CAT(wvec, SUFFIX)
#define LOAD(p) (*(const VEC *)(p))
#define STORE(p, v) (*(VEC *)(p) = (v))

#define FC_SQUARE_OF(name) FC_CAT(FC_CAT(name, TILE), SUFFIX)

/* V[point][channels / BLOCK][tile][BLOCK] of one tile: `block` between blocks of channels. */
static void FC(winograd_image)(void *v, int64_t point, int64_t block, const void *const *pixel, int64_t channels) {
    for (int64_t c = 0; c < channels; c += LANES) {
        VEC x[FC_SIDE][FC_SIDE], y[FC_SIDE][FC_SIDE];
        T *to = (T *)v + c / FC_WINOGRAD_BLOCK * block + c % FC_WINOGRAD_BLOCK;
        FC_UNROLL for (int i = 0; i < FC_SIDE; i++)
            FC_UNROLL for (int j = 0; j < FC_SIDE; j++)
                x[i][j] = LOAD((const T *)pixel[i * FC_SIDE + j] + c);
        FC_SQUARE_OF(image)(y, x);
        FC_UNROLL for (int i = 0; i < FC_SIDE; i++)
            FC_UNROLL for (int j = 0; j < FC_SIDE; j++)
                STORE(to + (i * FC_SIDE + j) * point, y[i][j]);
    }
}

/* Y[point][columns / NR][tile][NR] of one tile of the output's gradient: `panel` between panels. */
static void FC(winograd_grad)(void *v, int64_t point, int64_t panel, const void *const *pixel, int64_t columns) {
    for (int64_t c = 0; c < columns; c += LANES) {
        VEC x[TILE][TILE], y[FC_SIDE][FC_SIDE];
        T *to = (T *)v + c / NR * panel + c % NR;
        FC_UNROLL for (int i = 0; i < TILE; i++)
            FC_UNROLL for (int j = 0; j < TILE; j++)
                x[i][j] = LOAD((const T *)pixel[i * TILE + j] + c);
        FC_SQUARE_OF(grad)(y, x);
        FC_UNROLL for (int i = 0; i < FC_SIDE; i++)
            FC_UNROLL for (int j = 0; j < FC_SIDE; j++)
                STORE(to + (i * FC_SIDE + j) * point, y[i][j]);
    }
}

/* U[point][panel][row][NR] of one panel. stream: past the caches, for more than they would keep. */
static void FC(winograd_kernel)(void *u, int64_t point, const void *w, int64_t tap_h, int64_t tap_w, int64_t row,
                                int64_t rows, int stream) {
    for (int64_t r = 0; r < rows; r++)
        FC_UNROLL for (int v = 0; v < 2; v++) {
            VEC x[3][3], y[FC_SIDE][FC_SIDE];
            T *to = (T *)u + r * NR + v * LANES;
            FC_UNROLL for (int i = 0; i < 3; i++)
                FC_UNROLL for (int j = 0; j < 3; j++)
                    x[i][j] = LOAD((const T *)w + r * row + i * tap_h + j * tap_w + v * LANES);
            FC_SQUARE_OF(kernel)(y, x);
            FC_UNROLL for (int i = 0; i < FC_SIDE; i++)
                FC_UNROLL for (int j = 0; j < FC_SIDE; j++) {
                    if (stream)
                        FC_STREAM(to + (i * FC_SIDE + j) * point, y[i][j]);
                    else
                        STORE(to + (i * FC_SIDE + j) * point, y[i][j]);
                }
        }
    if (stream)
        FC_STREAM_END;
}

FC_INLINE void FC(store_part)(T *to, VEC v, int64_t n) {
    if (n >= LANES)
        STORE(to, v);
    else
        memcpy(to, &v, n * sizeof(T));
}

/* The pixels of one tile from M[point][columns], NULL for those beyond the image. */
FC_INLINE void FC(result_loop)(void *const *pixel, const T *m, int64_t point, int64_t columns, const T *bias,
                               const int activation) {
    typedef __typeof__((VEC){0} < (VEC){0}) BITS;
    for (int64_t c = 0; c < columns; c += LANES) {
        VEC x[FC_SIDE][FC_SIDE], y[TILE][TILE];
        FC_UNROLL for (int i = 0; i < FC_SIDE; i++)
            FC_UNROLL for (int j = 0; j < FC_SIDE; j++)
                x[i][j] = LOAD(m + (i * FC_SIDE + j) * point + c);
        FC_SQUARE_OF(result)(y, x);
        FC_UNROLL for (int i = 0; i < TILE; i++)
            FC_UNROLL for (int j = 0; j < TILE; j++) {
                VEC value = y[i][j];
                if (bias)
                    value += LOAD(bias + c);
                if (activation != FC_NO_ACTIVATION)
                    value = (VEC)((BITS)value & ~(value < 0));
                if (activation == FC_RELU6) {
                    const BITS above = value > 6;
                    value = (VEC)(((BITS)value & ~above) | ((BITS)((VEC){0} + 6) & above));
                }
                T *to = pixel[i * TILE + j];
                if (to)
                    FC(store_part)(to + c, value, columns - c);
            }
    }
}

static void FC(winograd_result)(void *const *pixel, const void *m, int64_t point, int64_t columns, const void *bias,
                                int activation) {
    switch (activation) {
    case FC_NO_ACTIVATION: FC(result_loop)(pixel, m, point, columns, bias, FC_NO_ACTIVATION); return;
    case FC_RELU: FC(result_loop)(pixel, m, point, columns, bias, FC_RELU); return;
    case FC_RELU6: FC(result_loop)(pixel, m, point, columns, bias, FC_RELU6); return;
    }
}

/* One row (channel) of the kernel's gradient from D[point][columns]. */
static void FC(winograd_kernel_grad)(void *dw, int64_t tap_h, int64_t tap_w, const void *d, int64_t point,
                                     int64_t columns) {
    for (int64_t c = 0; c < columns; c += LANES) {
        VEC x[FC_SIDE][FC_SIDE], y[3][3];
        FC_UNROLL for (int i = 0; i < FC_SIDE; i++)
            FC_UNROLL for (int j = 0; j < FC_SIDE; j++)
                x[i][j] = LOAD((const T *)d + (i * FC_SIDE + j) * point + c);
        FC_SQUARE_OF(kernel_grad)(y, x);
        FC_UNROLL for (int i = 0; i < 3; i++)
            FC_UNROLL for (int j = 0; j < 3; j++)
                FC(store_part)((T *)dw + i * tap_h + j * tap_w + c, y[i][j], columns - c);
    }
}

#undef FC
#undef FC_SIDE
#undef FC_SQUARE_OF
#undef LANES
#undef NR
#undef VEC
#undef LOAD
#undef STORE

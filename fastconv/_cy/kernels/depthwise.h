/* Convolution with one channel a group, for one element type T: vectors of channels (included after gemm.h). */

#ifndef FC_PIXELS
#define FC_PIXELS 4             /* outputs in registers at once */
#endif

FC_INLINE VEC FC(activate_vec)(VEC y, int activation) {
    const VEC six = (VEC){0} + 6;
    __typeof__(y < six) low = y < 0, high = y > six;
    if (activation != FC_NO_ACTIVATION)
        y = (VEC)((__typeof__(low))y & ~low);
    if (activation == FC_RELU6)
        y = (VEC)(((__typeof__(low))y & ~high) | ((__typeof__(low))six & high));
    return y;
}

/* store where columns lie side by side, for results that no cache holds: past the caches. */
static void FC(stream)(void *out, int64_t out_row, const void *c, int64_t c_stride, int64_t rows, int64_t columns,
                       const void *bias, int activation) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < columns; j += LANES) {
            VEC y = LOAD((const T *)c + r * c_stride + j);
            if (bias)
                y += LOAD((const T *)bias + j);
            y = FC(activate_vec)(y, activation);
            FC_STREAM((T *)out + r * out_row + j, y);
        }
}

/* `pixels` outputs by V vectors of channels, along all taps. */
FC_INLINE void FC(depthwise_block)(const int pixels, const int vectors, T *out, int64_t out_step, const T *x,
                                   int64_t x_step, const fc_tap *taps, int64_t n_taps, const T *w, const T *bias,
                                   int activation) {
    VEC acc[FC_PIXELS][2];
    FC_UNROLL for (int i = 0; i < pixels; i++)
        FC_UNROLL for (int v = 0; v < vectors; v++)
            acc[i][v] = (VEC){0};
    for (const fc_tap *tap = taps; tap < taps + n_taps; tap++) {
        VEC wv[2];
        FC_UNROLL for (int v = 0; v < vectors; v++)
            wv[v] = LOAD(w + tap->w + v * LANES);
        FC_UNROLL for (int i = 0; i < pixels; i++)
            FC_UNROLL for (int v = 0; v < vectors; v++)
                acc[i][v] += LOAD(x + tap->x + i * x_step + v * LANES) * wv[v];
    }
    FC_UNROLL for (int i = 0; i < pixels; i++)
        FC_UNROLL for (int v = 0; v < vectors; v++) {
            VEC y = acc[i][v];
            if (bias)
                y += LOAD(bias + v * LANES);
            STORE(out + i * out_step + v * LANES, FC(activate_vec)(y, activation));
        }
}

/* All channels of `pixels` outputs: memory is walked through as it lies. */
FC_INLINE void FC(depthwise_pixels)(const int pixels, T *out, int64_t out_step, const T *x, int64_t x_step,
                                    const fc_tap *taps, int64_t n_taps, const T *w, int64_t channels, const T *bias,
                                    int activation) {
    int64_t c = 0;
    for (; c + 2 * LANES <= channels; c += 2 * LANES)
        FC(depthwise_block)(pixels, 2, out + c, out_step, x + c, x_step, taps, n_taps, w + c, bias ? bias + c : 0,
                            activation);
    while (c < channels && channels >= LANES) {     /* the last vector may overlap the one before */
        c = c + LANES > channels ? channels - LANES : c;
        FC(depthwise_block)(pixels, 1, out + c, out_step, x + c, x_step, taps, n_taps, w + c, bias ? bias + c : 0,
                            activation);
        c += LANES;
    }
    for (; c < channels; c++)
        for (int64_t i = 0; i < pixels; i++) {
            T sum = 0;
            for (const fc_tap *tap = taps; tap < taps + n_taps; tap++)
                sum += x[tap->x + i * x_step + c] * w[tap->w + c];
            out[i * out_step + c] = FC(activate)(bias ? sum + bias[c] : sum, activation);
        }
}

static void FC(depthwise)(void *out, int64_t out_step, const void *x, int64_t x_step, const fc_tap *taps,
                          int64_t n_taps, const void *w, int64_t n, int64_t channels, const void *bias,
                          int activation) {
    T *y = out;
    const T *s = x;
    int64_t i = 0;
    for (; i + FC_PIXELS <= n; i += FC_PIXELS)
        FC(depthwise_pixels)(FC_PIXELS, y + i * out_step, out_step, s + i * x_step, x_step, taps, n_taps, w, channels,
                             bias, activation);
    for (; i < n; i++)
        FC(depthwise_pixels)(1, y + i * out_step, out_step, s + i * x_step, x_step, taps, n_taps, w, channels, bias,
                             activation);
}

/* --- the weight gradient: sums over n pixels, in order, for neighbouring taps --------------------- */

FC_INLINE void FC(depthwise_sums)(const int taps, const int vectors, T *acc, int64_t acc_step, const T *x,
                                  int64_t x_step, int64_t tap_step, const T *g, int64_t g_step, int64_t n) {
    VEC sum[3][4];
    FC_UNROLL for (int t = 0; t < taps; t++)
        FC_UNROLL for (int v = 0; v < vectors; v++)
            sum[t][v] = LOAD(acc + t * acc_step + v * LANES);
    for (int64_t i = 0; i < n; i++, x += x_step, g += g_step)
        FC_UNROLL for (int v = 0; v < vectors; v++) {
            const VEC gv = LOAD(g + v * LANES);
            FC_UNROLL for (int t = 0; t < taps; t++)
                sum[t][v] += LOAD(x + t * tap_step + v * LANES) * gv;
        }
    FC_UNROLL for (int t = 0; t < taps; t++)
        FC_UNROLL for (int v = 0; v < vectors; v++)
            STORE(acc + t * acc_step + v * LANES, sum[t][v]);
}

/* All channels of up to three taps. */
FC_INLINE void FC(depthwise_taps)(const int taps, T *acc, int64_t acc_step, const T *x, int64_t x_step,
                                  int64_t tap_step, const T *g, int64_t g_step, int64_t n, int64_t channels) {
    int64_t c = 0;
    for (; c + 4 * LANES <= channels; c += 4 * LANES)
        FC(depthwise_sums)(taps, 4, acc + c, acc_step, x + c, x_step, tap_step, g + c, g_step, n);
    for (; c + LANES <= channels; c += LANES)
        FC(depthwise_sums)(taps, 1, acc + c, acc_step, x + c, x_step, tap_step, g + c, g_step, n);
    for (; c < channels; c++)
        for (int t = 0; t < taps; t++) {
            T sum = acc[t * acc_step + c];
            for (int64_t i = 0; i < n; i++)
                sum += x[i * x_step + t * tap_step + c] * g[i * g_step + c];
            acc[t * acc_step + c] = sum;
        }
}

static void FC(depthwise_grad)(void *acc, int64_t acc_step, const void *x, int64_t x_step, int64_t tap_step,
                               int64_t taps, const void *g, int64_t g_step, int64_t n, int64_t channels) {
    T *a = acc;
    const T *s = x;
    for (; taps >= 3; taps -= 3, a += 3 * acc_step, s += 3 * tap_step)
        FC(depthwise_taps)(3, a, acc_step, s, x_step, tap_step, g, g_step, n, channels);
    for (; taps > 0; taps--, a += acc_step, s += tap_step)
        FC(depthwise_taps)(1, a, acc_step, s, x_step, tap_step, g, g_step, n, channels);
}

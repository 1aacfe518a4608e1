/* Normalisation of one element type T (included once for each): sums over the positions of channels,
 * and the pass that uses them.
 *
 *     statistics   sums of v = x - centre, and of v * v
 *     gradient     sums of g, and of g * (x - centre), with g 0 where the activation is flat
 *     apply        y = act((x - mean) * scale + bias)
 *     apply_grad   dx = scale * (g - g_mean - (x - mean) * slope)
 *
 * Sums are double, in the order of reference.norm_order: positions take turns among lanes by their
 * number within a chunk. Where channels lie side by side a vector holds channels, and there are
 * FC_ROW_LANES; else it holds positions, FC_PLANE_LANES of them. cl/kernels/norm.cl has the same
 * expressions, they round alike.
 */
#define FC(name) FC_CAT(name, SUFFIX)
#define WIDE ((int64_t)(FC_VECTOR_BYTES / 8))
#define ROWS 64             /* of a block whose channels are walked vector by vector */

/* WIDE doubles, and as many T. */
typedef double FC(wide) __attribute__((vector_size(FC_VECTOR_BYTES), aligned(8), may_alias));
typedef T FC(narrow) __attribute__((vector_size(FC_VECTOR_BYTES / 8 * sizeof(T)), aligned(sizeof(T)), may_alias));
typedef MASK FC(mask) __attribute__((vector_size(FC_VECTOR_BYTES / 8 * sizeof(T)), aligned(sizeof(T)), may_alias));
#define WIDE_AT(p) (*(FC(wide) *)(p))
#define NARROW_AT(p) (*(const FC(narrow) *)(p))
#define WIDENED(v) __builtin_convertvector(v, FC(wide))

/* Whether the activation of t lets a gradient pass. */
FC_INLINE int FC(passes)(const int activation, T t)
{
    return activation == FC_NO_ACTIVATION || (t > 0 && (activation == FC_RELU || t < 6));
}

FC_INLINE T FC(activated)(const int activation, T t)
{
    if (activation != FC_NO_ACTIVATION)
        t = t < 0 ? 0 : t;
    return activation == FC_RELU6 && t > 6 ? 6 : t;
}

/* g where the activation of (x - mean) * scale + bias lets it pass, else 0. */
FC_INLINE FC(narrow) FC(passing)(const int activation, FC(narrow) g, FC(narrow) x, FC(narrow) mean, FC(narrow) scale,
                                 FC(narrow) bias)
{
    if (activation == FC_NO_ACTIVATION)
        return g;
    const FC(narrow) t = (x - mean) * scale + bias;
    FC(mask) pass = t > 0;
    if (activation == FC_RELU6)
        pass &= t < 6;
    return (FC(narrow))((FC(mask))g & pass);
}

/* What one position of a channel adds to the two sums. */
FC_INLINE void FC(add_position)(const int grad, const fc_norm_sums *k, int64_t r, int64_t j, double *s0, double *s1)
{
    const T x = ((const T *)k->x)[r * k->x_row + j * k->x_step];
    const double v = x - k->centre[j];
    if (!grad) {
        *s0 += v;
        *s1 = FC_FMA(v, v, *s1);
        return;
    }
    T g = ((const T *)k->g)[r * k->g_row + j * k->g_step];
    if (k->activation != FC_NO_ACTIVATION) {
        const T t = FC_FMA(x - ((const T *)k->mean)[j], ((const T *)k->scale)[j], ((const T *)k->bias)[j]);
        g = FC(passes)(k->activation, t) ? g : 0;
    }
    *s0 += g;
    *s1 = FC_FMA((double)g, v, *s1);
}

/* --- channels side by side: `vectors` times WIDE of them, rows [first, last) ------------------- */

FC_INLINE void FC(row_sums)(const int vectors, const int grad, const int activation, const fc_norm_sums *k, int64_t j,
                            int64_t first, int64_t last)
{
    FC(wide) s[FC_ROW_LANES][2][8], centre[8];
    FC(narrow) mean[8], scale[8], bias[8];
    FC_UNROLL for (int v = 0; v < vectors; v++) {
        const int64_t at = j + v * WIDE;
        centre[v] = WIDE_AT(k->centre + at);
        if (activation != FC_NO_ACTIVATION) {
            mean[v] = NARROW_AT((const T *)k->mean + at);
            scale[v] = NARROW_AT((const T *)k->scale + at);
            bias[v] = NARROW_AT((const T *)k->bias + at);
        }
        FC_UNROLL for (int l = 0; l < FC_ROW_LANES; l++)
            FC_UNROLL for (int q = 0; q < 2; q++)
                s[l][q][v] = WIDE_AT(k->sums + (2 * l + q) * k->width + at);
    }
    for (int64_t r = first; r < last; r += FC_ROW_LANES)
        FC_UNROLL for (int l = 0; l < FC_ROW_LANES; l++) {
            const T *x = (const T *)k->x + (r + l) * k->x_row + j, *g = (const T *)k->g + (r + l) * k->g_row + j;
            FC_UNROLL for (int v = 0; v < vectors; v++) {
                const FC(narrow) xv = NARROW_AT(x + v * WIDE);
                const FC(wide) d = WIDENED(xv) - centre[v];
                if (!grad) {
                    s[l][0][v] += d;
                    s[l][1][v] += d * d;
                    continue;
                }
                const FC(narrow) gv = FC(passing)(activation, NARROW_AT(g + v * WIDE), xv, mean[v], scale[v], bias[v]);
                const FC(wide) w = WIDENED(gv);
                s[l][0][v] += w;
                s[l][1][v] += w * d;
            }
        }
    FC_UNROLL for (int v = 0; v < vectors; v++)
        FC_UNROLL for (int l = 0; l < FC_ROW_LANES; l++)
            FC_UNROLL for (int q = 0; q < 2; q++)
                WIDE_AT(k->sums + (2 * l + q) * k->width + j + v * WIDE) = s[l][q][v];
}

/* Rows and channels that fill no vector or no turn of the lanes. */
FC_INLINE void FC(row_sums_single)(const int grad, const fc_norm_sums *k, int64_t j, int64_t end, int64_t first, int64_t last)
{
    for (int64_t r = first; r < last; r++) {
        double *sums = k->sums + (k->phase + r) % FC_ROW_LANES * 2 * k->width;
        for (int64_t c = j; c < end; c++)
            FC(add_position)(grad, k, r, c, sums + c, sums + k->width + c);
    }
}

FC_INLINE void FC(rows_of)(const int grad, const int activation, const fc_norm_sums *k)
{
    const int dense = k->x_step == 1 && (!grad || k->g_step == 1);
    const int64_t head = k->phase % FC_ROW_LANES < k->n ? k->phase % FC_ROW_LANES : k->n;
    FC(row_sums_single)(grad, k, 0, k->width, 0, head);
    for (int64_t start = head; start < k->n; start += ROWS) {
        const int64_t end = start + ROWS < k->n ? start + ROWS : k->n;
        const int64_t whole = start + (end - start) / FC_ROW_LANES * FC_ROW_LANES;
        int64_t j = 0;
        for (; dense && j + 16 <= k->width; j += 16)
            FC(row_sums)(16 / WIDE, grad, activation, k, j, start, whole);
        for (; dense && j + 8 <= k->width; j += 8)
            FC(row_sums)(8 / WIDE, grad, activation, k, j, start, whole);
        FC(row_sums_single)(grad, k, j, k->width, start, whole);
        FC(row_sums_single)(grad, k, 0, k->width, whole, end);
    }
}

/* --- positions side by side, channel after channel ---------------------------------------------- */

FC_INLINE void FC(plane_of)(const int grad, const int activation, const fc_norm_sums *k, int64_t j)
{
    double *s0 = k->sums + 2 * j * FC_PLANE_LANES, *s1 = s0 + FC_PLANE_LANES;
    const int64_t misfit = (FC_PLANE_LANES - k->phase % FC_PLANE_LANES) % FC_PLANE_LANES;
    const int64_t head = misfit < k->n ? misfit : k->n;
    int64_t r = 0;
    for (; r < head; r++)
        FC(add_position)(grad, k, r, j, s0 + (k->phase + r) % FC_PLANE_LANES, s1 + (k->phase + r) % FC_PLANE_LANES);
    if (k->x_row == 1 && (!grad || k->g_row == 1)) {
        const T *x = (const T *)k->x + j * k->x_step, *g = (const T *)k->g + j * k->g_step;
        const double centre = k->centre[j];
        FC(narrow) mean = {0}, scale = {0}, bias = {0};
        if (activation != FC_NO_ACTIVATION) {
            mean += ((const T *)k->mean)[j];
            scale += ((const T *)k->scale)[j];
            bias += ((const T *)k->bias)[j];
        }
        FC(wide) v0[FC_PLANE_LANES / WIDE], v1[FC_PLANE_LANES / WIDE];
        FC_UNROLL for (int v = 0; v < FC_PLANE_LANES / WIDE; v++)
            v0[v] = WIDE_AT(s0 + v * WIDE), v1[v] = WIDE_AT(s1 + v * WIDE);
        for (; r + FC_PLANE_LANES <= k->n; r += FC_PLANE_LANES)
            FC_UNROLL for (int v = 0; v < FC_PLANE_LANES / WIDE; v++) {
                const FC(narrow) xv = NARROW_AT(x + r + v * WIDE);
                const FC(wide) d = WIDENED(xv) - centre;
                if (!grad) {
                    v0[v] += d;
                    v1[v] += d * d;
                    continue;
                }
                const FC(narrow) gv = FC(passing)(activation, NARROW_AT(g + r + v * WIDE), xv, mean, scale, bias);
                const FC(wide) w = WIDENED(gv);
                v0[v] += w;
                v1[v] += w * d;
            }
        FC_UNROLL for (int v = 0; v < FC_PLANE_LANES / WIDE; v++)
            WIDE_AT(s0 + v * WIDE) = v0[v], WIDE_AT(s1 + v * WIDE) = v1[v];
    }
    for (; r < k->n; r++)
        FC(add_position)(grad, k, r, j, s0 + (k->phase + r) % FC_PLANE_LANES, s1 + (k->phase + r) % FC_PLANE_LANES);
}

FC_INLINE void FC(sums_of)(const int grad, const int activation, const fc_norm_sums *k)
{
    if (k->lanes == FC_ROW_LANES)
        FC(rows_of)(grad, activation, k);
    else
        for (int64_t j = 0; j < k->width; j++)
            FC(plane_of)(grad, activation, k, j);
}

static void FC(norm_statistics)(const fc_norm_sums *k)
{
    FC(sums_of)(0, FC_NO_ACTIVATION, k);
}

static void FC(norm_gradient)(const fc_norm_sums *k)
{
    if (k->activation == FC_NO_ACTIVATION)
        FC(sums_of)(1, FC_NO_ACTIVATION, k);
    else if (k->activation == FC_RELU)
        FC(sums_of)(1, FC_RELU, k);
    else
        FC(sums_of)(1, FC_RELU6, k);
}

/* --- between the passes ------------------------------------------------------------------------ */

/* The lanes of `width` channels become one sum each: out[q * stride + j]. */
static void FC(norm_fold)(const fc_norm_sums *k, double *out, int64_t stride)
{
    double *sums = k->sums;
    for (int64_t j = 0; j < k->width; j++)
        for (int q = 0; q < 2; q++) {
            double *lane = sums + (k->lanes == FC_ROW_LANES ? q * k->width + j : (2 * j + q) * FC_PLANE_LANES);
            const int64_t step = k->lanes == FC_ROW_LANES ? 2 * k->width : 1;
            for (int span = k->lanes / 2; span; span /= 2)
                for (int l = 0; l < span; l++)
                    lane[l * step] += lane[(l + span) * step];
            out[q * stride + j] = lane[0];
        }
}

/* Sums of chunks, one after the other, into those of the first. */
FC_INLINE void FC(join_chunks)(const fc_norm_end *k)
{
    for (int64_t chunk = 1; chunk < k->chunks; chunk++)
        for (int q = 0; q < 2; q++) {
            double *total = k->partial + q * k->stride;
            const double *more = total + chunk * 2 * k->stride;
            FC_SIMD for (int64_t j = 0; j < k->width; j++)
                total[j] += more[j];
        }
}

static void FC(norm_end_statistics)(const fc_norm_end *k)
{
    const T *weight = k->weight, *bias = k->bias;
    T *mean = k->mean, *rstd = k->rstd, *scale = k->scale, *shift = k->shift;
    T *running_mean = k->running_mean, *running_var = k->running_var;
    const double *sum = k->partial, *squares = sum + k->stride, n = (double)k->count;
    const T momentum = (T)k->momentum, unbias = (T)(n / (n > 1 ? n - 1 : 1));
    FC(join_chunks)(k);
    for (int64_t j = 0; j < k->width; j++) {
        double var = (squares[j] - sum[j] * sum[j] / n) / n;
        var = var < 0 ? 0 : var;
        mean[j] = (T)(k->centre[j] + sum[j] / n);
        rstd[j] = (T)(1 / sqrt(var + k->eps));
        scale[j] = weight ? rstd[j] * weight[j] : rstd[j];
        shift[j] = bias ? bias[j] : 0;
        if (running_mean) {
            running_mean[j] = FC_FMA(mean[j] - running_mean[j], momentum, running_mean[j]);
            running_var[j] = FC_FMA(FC_FMA((T)var, unbias, -running_var[j]), momentum, running_var[j]);
        }
    }
}

static void FC(norm_end_gradient)(const fc_norm_end *k)
{
    const T *rstd = k->rstd;
    T *d_weight = k->d_weight, *d_bias = k->d_bias, *g_mean = k->g_mean, *slope = k->slope;
    const double *sum_g = k->partial, *sum_gx = sum_g + k->stride, n = (double)k->count;
    FC(join_chunks)(k);
    for (int64_t j = 0; j < k->width; j++) {
        d_bias[j] = (T)sum_g[j];
        d_weight[j] = (T)(sum_gx[j] * rstd[j]);
        g_mean[j] = (T)(sum_g[j] / n);
        slope[j] = (T)(sum_gx[j] * rstd[j] * rstd[j] / n);
    }
}

/* --- the pass after the sums ------------------------------------------------------------------- */

#define FC_APPLY(x_, mean_, scale_, bias_) \
    FC(activated)(activation, FC_FMA((x_) - (mean_), scale_, bias_))
#define FC_APPLY_GRAD(g_, x_, mean_, scale_, bias_, g_mean_, slope_) \
    ((scale_) * FC_FMA((mean_) - (x_), slope_, \
                       (FC(passes)(activation, FC_FMA((x_) - (mean_), scale_, bias_)) ? (g_) : 0) - (g_mean_)))

FC_INLINE void FC(apply_of)(const int grad, const int activation, const fc_norm_apply *k)
{
    const T *x = k->x, *g = k->g, *mean = k->mean, *scale = k->scale, *bias = k->bias;
    const T *g_mean = k->g_mean, *slope = k->slope;
    T *y = k->y;
    const int64_t yr = k->y_row, xr = k->x_row, gr = k->g_row, ys = k->y_step, xs = k->x_step, gs = k->g_step;
    if (ys == 1 && xs == 1 && (!grad || gs == 1)) {
        enum { W = FC_VECTOR_BYTES / sizeof(T) };
        for (int64_t start = 0; start < k->n; start += ROWS) {
            const int64_t end = start + ROWS < k->n ? start + ROWS : k->n;
            int64_t j = 0;
            for (; j + W <= k->width; j += W)
                for (int64_t r = start; r < end; r++)
                    FC_SIMD for (int l = 0; l < W; l++) {
                        const int64_t c = j + l;
                        y[r * yr + c] = grad ? FC_APPLY_GRAD(g[r * gr + c], x[r * xr + c], mean[c], scale[c], bias[c],
                                                             g_mean[c], slope[c])
                                             : FC_APPLY(x[r * xr + c], mean[c], scale[c], bias[c]);
                    }
            for (int64_t r = start; r < end; r++)
                for (int64_t c = j; c < k->width; c++)
                    y[r * yr + c] = grad ? FC_APPLY_GRAD(g[r * gr + c], x[r * xr + c], mean[c], scale[c], bias[c],
                                                         g_mean[c], slope[c])
                                         : FC_APPLY(x[r * xr + c], mean[c], scale[c], bias[c]);
        }
        return;
    }
    const int dense = yr == 1 && xr == 1 && (!grad || gr == 1);
    for (int64_t c = 0; c < k->width; c++) {
        const T m = mean[c], s = scale[c], b = bias[c], gm = grad ? g_mean[c] : 0, sl = grad ? slope[c] : 0;
        if (dense)
            FC_SIMD for (int64_t r = 0; r < k->n; r++)
                y[c * ys + r] = grad ? FC_APPLY_GRAD(g[c * gs + r], x[c * xs + r], m, s, b, gm, sl)
                                     : FC_APPLY(x[c * xs + r], m, s, b);
        else
            for (int64_t r = 0; r < k->n; r++)
                y[c * ys + r * yr] = grad ? FC_APPLY_GRAD(g[c * gs + r * gr], x[c * xs + r * xr], m, s, b, gm, sl)
                                          : FC_APPLY(x[c * xs + r * xr], m, s, b);
    }
}

static void FC(norm_apply)(const fc_norm_apply *k)
{
    if (k->activation == FC_NO_ACTIVATION)
        FC(apply_of)(0, FC_NO_ACTIVATION, k);
    else if (k->activation == FC_RELU)
        FC(apply_of)(0, FC_RELU, k);
    else
        FC(apply_of)(0, FC_RELU6, k);
}

static void FC(norm_apply_grad)(const fc_norm_apply *k)
{
    if (k->activation == FC_NO_ACTIVATION)
        FC(apply_of)(1, FC_NO_ACTIVATION, k);
    else if (k->activation == FC_RELU)
        FC(apply_of)(1, FC_RELU, k);
    else
        FC(apply_of)(1, FC_RELU6, k);
}

#undef FC
#undef WIDE
#undef ROWS
#undef WIDE_AT
#undef NARROW_AT
#undef WIDENED
#undef FC_APPLY
#undef FC_APPLY_GRAD

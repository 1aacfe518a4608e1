/* One tap of a pooling window over a block of outputs (rows x n), and the elementwise part of one
 * recurrent step over n hidden units. Each operand has its own strides.
 *
 *     max     y = x, which = tap    where x is the first element, larger, or the first NaN
 *     pick    y = x                 where which == tap
 *     spread  x += y                where which == tap (the gradient of max)
 *     sum     y += x                with y in double
 */
#define FC_POOL_MAX if (which[b] < 0 || x[c] > y[a] || (x[c] != x[c] && y[a] == y[a])) y[a] = x[c], which[b] = tap;
#define FC_POOL_PICK if (which[b] == tap) y[a] = x[c];
#define FC_POOL_SPREAD x[c] += which[b] == tap ? y[a] : 0;
#define FC_POOL_SUM y[a] += x[c];

#define FC_DEFINE_POOL(name, dtype, T, Y, STEP) \
    FC_INLINE void name##_loop_##dtype(const fc_block *k, int64_t sy, int64_t si, int64_t sx) { \
        const int32_t tap = k->tap; \
        for (int64_t r = 0; r < k->rows; r++) { \
            Y *restrict y = (Y *)k->y + r * k->y_row; \
            int32_t *restrict which = k->index + r * k->index_row; \
            T *restrict x = (T *)k->x + r * k->x_row; \
            FC_SIMD for (int64_t i = 0; i < k->n; i++) { \
                const int64_t a = i * sy, b = i * si, c = i * sx; \
                (void)a, (void)b, (void)c, (void)which, (void)tap; \
                STEP \
            } \
        } \
    } \
    static void name##_##dtype(const fc_block *k) { \
        if (k->y_step == 1 && k->index_step == 1 && k->x_step == 1) \
            name##_loop_##dtype(k, 1, 1, 1); \
        else \
            name##_loop_##dtype(k, k->y_step, k->index_step, k->x_step); \
    }
FC_DEFINE_POOL(pool_max, f32, float, float, FC_POOL_MAX)
FC_DEFINE_POOL(pool_max, f64, double, double, FC_POOL_MAX)
FC_DEFINE_POOL(pool_pick, f32, float, float, FC_POOL_PICK)
FC_DEFINE_POOL(pool_pick, f64, double, double, FC_POOL_PICK)
FC_DEFINE_POOL(pool_spread, f32, float, float, FC_POOL_SPREAD)
FC_DEFINE_POOL(pool_spread, f64, double, double, FC_POOL_SPREAD)
FC_DEFINE_POOL(pool_sum, f32, float, double, FC_POOL_SUM)
FC_DEFINE_POOL(pool_sum, f64, double, double, FC_POOL_SUM)

/* Recurrent steps. d[k] is operand k, s[k] its stride; operands in the order of the function's
 * parameters in reference.py, with one pointer for each gate.
 * cl/kernels/recurrent.cl has the same expressions: they round alike. */
#define AT(k) (((T *)d[k])[i * s[k]])

#define FC_RECURRENT(name, dtype, TYPE, ...) \
    FC_INLINE void name##_loop_##dtype(int64_t n, void *const *d, const int64_t *s) { \
        typedef TYPE T; \
        FC_SIMD for (int64_t i = 0; i < n; i++) { __VA_ARGS__ } \
    } \
    static void name##_##dtype(int64_t n, void *const *d, const int64_t *s, int operands) { \
        static const int64_t one[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}; \
        int dense = 1; \
        for (int k = 0; k < operands; k++) \
            dense &= s[k] == 1; \
        name##_loop_##dtype(n, d, dense ? one : s); \
    }
#define FC_RECURRENT_BOTH(name, ...) \
    FC_RECURRENT(name, f32, float, __VA_ARGS__) FC_RECURRENT(name, f64, double, __VA_ARGS__)

/* h, c, gates (2..5), gx (6..9), c_prev */
FC_RECURRENT_BOTH(lstm,
    const T in = FC_SIGMOID(AT(2) + AT(6));
    const T forget = FC_SIGMOID(AT(3) + AT(7));
    const T cell = FC_TANH(AT(4) + AT(8));
    const T o = FC_SIGMOID(AT(5) + AT(9));
    const T c = FC_FMA(forget, AT(10), in * cell);
    AT(2) = in; AT(3) = forget; AT(4) = cell; AT(5) = o;
    AT(1) = c;
    AT(0) = o * FC_TANH(c);)
/* d_gates (0..3), dc_prev, dh, dc, gates (7..10), c, c_prev */
FC_RECURRENT_BOTH(lstm_grad,
    const T in = AT(7), forget = AT(8), cell = AT(9), o = AT(10), dh = AT(5);
    const T t = FC_TANH(AT(11));
    const T total = FC_FMA(dh * o, FC_FMA(-t, t, 1), AT(6));
    AT(0) = total * cell * in * (1 - in);
    AT(1) = total * AT(12) * forget * (1 - forget);
    AT(2) = total * in * FC_FMA(-cell, cell, 1);
    AT(3) = dh * t * o * (1 - o);
    AT(4) = total * forget;)
/* h, gates (1..3), gx (4..6), gh (7..9), bias (10..12), h_prev */
FC_RECURRENT_BOTH(gru,
    const T hr = AT(7) + AT(10), hz = AT(8) + AT(11), hn = AT(9) + AT(12);
    const T r = FC_SIGMOID(AT(4) + hr);
    const T z = FC_SIGMOID(AT(5) + hz);
    const T c = FC_TANH(FC_FMA(r, hn, AT(6)));
    const T h = FC_FMA(z, AT(13), (1 - z) * c);
    AT(7) = hr; AT(8) = hz; AT(9) = hn;
    AT(1) = r; AT(2) = z; AT(3) = c;
    AT(0) = h;)
/* d_gx (0..2), d_gh (3..5), dh_prev, dh, gates (8..10), gh (11..13), h_prev */
FC_RECURRENT_BOTH(gru_grad,
    const T r = AT(8), z = AT(9), c = AT(10), dh = AT(7);
    const T dn = dh * (1 - z) * FC_FMA(-c, c, 1);
    const T dz = dh * (AT(14) - c) * z * (1 - z);
    const T dr = dn * AT(13) * r * (1 - r);
    AT(0) = dr; AT(1) = dz; AT(2) = dn;
    AT(3) = dr; AT(4) = dz; AT(5) = dn * r;
    AT(6) = dh * z;)
#undef AT

/* The elementwise part of one time step of LSTM and GRU, and its gradient: one work-item per row and
 * hidden unit. Gates lie side by side along the columns, `hidden` wide each. _cy/kernels/windows.h has
 * the same expressions: they round alike.
 */
#ifndef T
#define T float
#define INDEX int
#define OPERANDS 5
#define GROUP_SIZE 64, 1, 1
#define lstm_step_ONLY
#endif
#include "common.h"
#include "scalar_math.h"

typedef struct { INDEX rows, hidden, offset[OPERANDS], row[OPERANDS], col[OPERANDS]; } layout_t;

/* operand p, number k among the kernel's parameters, at this row and unit of gate `gate` */
#define AT(p, k, gate) (p)[layout.offset[k] + i * layout.row[k] + (j + (gate) * layout.hidden) * layout.col[k]]
#define UNIT_BEGIN const INDEX item = get_global_id(0), i = item / layout.hidden, j = item % layout.hidden; \
    if (i < layout.rows) {
#define UNIT_END }

#ifdef lstm_step_ONLY
KERNEL void lstm_step(const layout_t layout, __global T *h, __global T *c, __global T *gates, __global const T *gx,
                      __global const T *c_prev)
{
    UNIT_BEGIN
    const T in = FC_SIGMOID(AT(gates, 2, 0) + AT(gx, 3, 0)), forget = FC_SIGMOID(AT(gates, 2, 1) + AT(gx, 3, 1));
    const T g = FC_TANH(AT(gates, 2, 2) + AT(gx, 3, 2)), o = FC_SIGMOID(AT(gates, 2, 3) + AT(gx, 3, 3));
    const T cell = FC_FMA(forget, AT(c_prev, 4, 0), in * g);
    AT(gates, 2, 0) = in;
    AT(gates, 2, 1) = forget;
    AT(gates, 2, 2) = g;
    AT(gates, 2, 3) = o;
    AT(c, 1, 0) = cell;
    AT(h, 0, 0) = o * FC_TANH(cell);
    UNIT_END
}
#endif

#ifdef lstm_step_grad_ONLY
KERNEL void lstm_step_grad(const layout_t layout, __global T *d_gates, __global T *dc_prev, __global const T *dh,
                           __global const T *dc, __global const T *gates, __global const T *c, __global const T *c_prev)
{
    UNIT_BEGIN
    const T in = AT(gates, 4, 0), forget = AT(gates, 4, 1), g = AT(gates, 4, 2), o = AT(gates, 4, 3);
    const T t = FC_TANH(AT(c, 5, 0)), d = AT(dh, 2, 0), total = FC_FMA(d * o, FC_FMA(-t, t, 1), AT(dc, 3, 0));
    AT(d_gates, 0, 0) = total * g * in * (1 - in);
    AT(d_gates, 0, 1) = total * AT(c_prev, 6, 0) * forget * (1 - forget);
    AT(d_gates, 0, 2) = total * in * FC_FMA(-g, g, 1);
    AT(d_gates, 0, 3) = d * t * o * (1 - o);
    AT(dc_prev, 1, 0) = total * forget;
    UNIT_END
}
#endif

#ifdef gru_step_ONLY
KERNEL void gru_step(const layout_t layout, __global T *h, __global T *gates, __global const T *gx, __global T *gh,
                     __global const T *bias, __global const T *h_prev)
{
    UNIT_BEGIN
    const T hr = AT(gh, 3, 0) + AT(bias, 4, 0), hz = AT(gh, 3, 1) + AT(bias, 4, 1), hn = AT(gh, 3, 2) + AT(bias, 4, 2);
    const T r = FC_SIGMOID(AT(gx, 2, 0) + hr), z = FC_SIGMOID(AT(gx, 2, 1) + hz), n = FC_TANH(FC_FMA(r, hn, AT(gx, 2, 2)));
    AT(gh, 3, 0) = hr;
    AT(gh, 3, 1) = hz;
    AT(gh, 3, 2) = hn;
    AT(gates, 1, 0) = r;
    AT(gates, 1, 1) = z;
    AT(gates, 1, 2) = n;
    AT(h, 0, 0) = FC_FMA(z, AT(h_prev, 5, 0), (1 - z) * n);
    UNIT_END
}
#endif

#ifdef gru_step_grad_ONLY
KERNEL void gru_step_grad(const layout_t layout, __global T *d_gx, __global T *d_gh, __global T *dh_prev,
                          __global const T *dh, __global const T *gates, __global const T *gh, __global const T *h_prev)
{
    UNIT_BEGIN
    const T r = AT(gates, 4, 0), z = AT(gates, 4, 1), n = AT(gates, 4, 2), d = AT(dh, 3, 0);
    const T dn = d * (1 - z) * FC_FMA(-n, n, 1), dz = d * (AT(h_prev, 6, 0) - n) * z * (1 - z);
    const T dr = dn * AT(gh, 5, 2) * r * (1 - r);
    AT(d_gx, 0, 0) = dr;
    AT(d_gx, 0, 1) = dz;
    AT(d_gx, 0, 2) = dn;
    AT(d_gh, 1, 0) = dr;
    AT(d_gh, 1, 1) = dz;
    AT(d_gh, 1, 2) = dn * r;
    AT(dh_prev, 2, 0) = d * z;
    UNIT_END
}
#endif

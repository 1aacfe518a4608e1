/* Convolution and matrix product: one GEMM that gathers its rows.
 *
 *     out[row, col] = bias[col] + sum over taps, c of x[row's pixel moved by the tap, c] * w[tap, c, col]
 *
 * A matrix product has one tap that is always inside. The columns come from panels that pack.cl
 * makes of w (or of b) first:  panels[group][col / PANEL][k][PANEL], zeros behind the last column;
 * the rows are read in place, through strides.
 *
 * A work-item computes TM rows by TN vectors of V columns in registers. GN neighbouring items share
 * a panel of PANEL = GN * TN * V columns, and each reads whole vectors from it, next to each other.
 *
 *     TAPS        spatial dimensions in play, 0 for a matrix product
 *     FIRST_TAP   the row dimension that is the first spatial one
 *     RD, GD      row and group dimensions
 *     C_STEP_1    x is contiguous along c;  OUT_STEP_1: out is contiguous along columns
 *     HAS_BIAS;  RELU or RELU6: what is applied to the result (NaN stays)
 */
#ifndef T
#define T float
#define INDEX int
#define V 4
#define TM 8
#define TN 1
#define GN 16
#define GM 8
#define TAPS 2
#define FIRST_TAP 1
#define RD 3
#define GD 1
#define GROUP_SIZE 16, 8, 1
#endif
#include "common.h"
#include "tile.h"

#if TAPS > 0
#define TAPS_OR_1 TAPS
#else
#define TAPS_OR_1 1
#endif

typedef struct {
    INDEX rows, cols, channels, c_step, panel_group;    /* panel_group: elements of a group's panels */
    INDEX tile_groups, blocks, chunks;                  /* a chunk of tile_groups stays in cache while the blocks pass */
    INDEX row_shape[RD], row_x[RD], row_out[RD];
    INDEX group_shape[GD], group_x[GD], group_out[GD], group_bias[GD];
    INDEX x_offset, out_offset, bias_offset, col_out, col_bias;
    /* per spatial dimension: size of x, taps, and how far (in pixels, in elements) a row or a tap moves */
    INDEX size[TAPS_OR_1], taps[TAPS_OR_1], stride[TAPS_OR_1], padding[TAPS_OR_1], dilation[TAPS_OR_1], tap_step[TAPS_OR_1];
} gemm_t;

#ifdef C_STEP_1
#define C_AT(c) (c)
#else
#define C_AT(c) ((c) * (long)layout.c_step)
#endif

#if defined(RELU)
#define ACTIVATE(x) ((x) < (VT)0 ? (VT)0 : (x))
#elif defined(RELU6)
#define ACTIVATE(x) ((x) < (VT)0 ? (VT)0 : (x) > (VT)6 ? (VT)6 : (x))
#else
#define ACTIVATE(x) (x)
#endif

/* One k: TN vectors of the panel against a value of each row. */
#define STEP_K(value) do { \
    VT b_[TN]; \
    _Pragma("unroll") for (int t = 0; t < TN; t++) b_[t] = LOAD(panel + t * GN * V); \
    panel += PANEL; \
    _Pragma("unroll") for (int m = 0; m < TM; m++) { \
        const VT a_ = (VT)(value); \
        _Pragma("unroll") for (int t = 0; t < TN; t++) sum[m][t] = FMA(a_, b_[t], sum[m][t]); \
    } } while (0)

KERNEL void gemm(const gemm_t layout, __global T *out, __global const T *x, __global const T *panels,
                 __global const T *bias)
{
    INDEX number = get_group_id(0);
    const INDEX tile = number % layout.tile_groups * GM + (INDEX)get_local_id(1);
    number /= layout.tile_groups;
    const INDEX block = number % layout.blocks;
    number /= layout.blocks;
    const INDEX chunk = number % layout.chunks, group = number / layout.chunks;
    const INDEX row0 = (chunk * layout.tile_groups * GM + tile) * TM;
    const int lane = get_local_id(0);
    if (row0 >= layout.rows)
        return;

    INDEX at[TM];
#if TAPS > 0
    INDEX pixel[TM][TAPS];
#endif
    INDEX x_group = layout.x_offset;
    OFFSET(x_group, group, GD, layout.group_shape, layout.group_x);
    #pragma unroll
    for (int m = 0; m < TM; m++) {
        INDEX rest = min(row0 + m, layout.rows - 1);    /* rows past the end repeat the last */
        at[m] = x_group;
        #pragma unroll
        for (int d = RD - 1; d >= 0; d--) {
            const INDEX i = d ? rest % layout.row_shape[d] : rest;
            rest /= layout.row_shape[d];
            at[m] += i * layout.row_x[d];
#if TAPS > 0
            if (d >= FIRST_TAP && d < FIRST_TAP + TAPS)
                pixel[m][d - FIRST_TAP] = i * layout.stride[d - FIRST_TAP] - layout.padding[d - FIRST_TAP];
#endif
        }
    }

    __global const T *panel = panels + group * (long)layout.panel_group + block * PANEL * (long)layout.channels
#if TAPS > 0
        * layout.taps[0]
#if TAPS > 1
        * layout.taps[1]
#endif
#if TAPS > 2
        * layout.taps[2]
#endif
#endif
        + lane * V;
    VT sum[TM][TN];
    #pragma unroll
    for (int m = 0; m < TM; m++)
        #pragma unroll
        for (int t = 0; t < TN; t++)
            sum[m][t] = 0;

    __global const T *p[TM];
#if TAPS == 0
    #pragma unroll
    for (int m = 0; m < TM; m++)
        p[m] = x + at[m];
    for (INDEX c = 0; c < layout.channels; c++)
        STEP_K(p[m][C_AT(c)]);
#else
    INDEX tap[TAPS];
    INDEX move = 0;
    for (int d = 0; d < TAPS; d++)
        tap[d] = 0;
    for (bool more = true; more; ) {
        bool inside[TM], all = true, any = false;
        #pragma unroll
        for (int m = 0; m < TM; m++) {
            inside[m] = true;
            #pragma unroll
            for (int d = 0; d < TAPS; d++) {
                const INDEX i = pixel[m][d] + tap[d] * layout.dilation[d];
                inside[m] &= (i >= 0) & (i < layout.size[d]);
            }
            all &= inside[m];
            any |= inside[m];
            p[m] = inside[m] ? x + (at[m] + move) : x;
        }
        if (all) {
            for (INDEX c = 0; c < layout.channels; c++)
                STEP_K(p[m][C_AT(c)]);
        } else if (any) {
            for (INDEX c = 0; c < layout.channels; c++)
                STEP_K(inside[m] ? p[m][C_AT(c)] : 0);
        } else {
            panel += PANEL * (long)layout.channels;
        }
        /* the next tap, last dimension fastest */
        more = false;
        #pragma unroll
        for (int d = TAPS - 1; d >= 0; d--)
            if (!more) {
                move += layout.tap_step[d];
                more = ++tap[d] < layout.taps[d];
                if (!more) {
                    move -= layout.tap_step[d] * layout.taps[d];
                    tap[d] = 0;
                }
            }
    }
#endif

    INDEX out_group = layout.out_offset;
    OFFSET(out_group, group, GD, layout.group_shape, layout.group_out);
#ifdef HAS_BIAS
    INDEX bias_group = layout.bias_offset;
    OFFSET(bias_group, group, GD, layout.group_shape, layout.group_bias);
#endif
    #pragma unroll
    for (int t = 0; t < TN; t++) {
        const INDEX col = block * PANEL + (t * GN + lane) * V;
        if (col >= layout.cols)
            continue;
        const int columns = (int)min((INDEX)V, layout.cols - col);
#ifdef HAS_BIAS
        T add[V];
        for (int v = 0; v < V; v++)
            add[v] = v < columns ? bias[bias_group + (col + v) * layout.col_bias] : 0;
        const VT added = LOAD(add);
#endif
        #pragma unroll
        for (int m = 0; m < TM; m++) {
            if (row0 + m >= layout.rows)
                continue;
            INDEX to = out_group + col * layout.col_out;
            OFFSET(to, row0 + m, RD, layout.row_shape, layout.row_out);
#ifdef HAS_BIAS
            const VT value = ACTIVATE(sum[m][t] + added);
#else
            const VT value = ACTIVATE(sum[m][t]);
#endif
#ifdef OUT_STEP_1
            if (columns == V) {
                STORE(value, out + to);
                continue;
            }
#endif
            T values[V];
            STORE(value, values);
            for (int v = 0; v < columns; v++)
                out[to + v * layout.col_out] = values[v];
        }
    }
}

/* The gradient of a convolution with respect to its weights, as a GEMM over pixels:
 *
 *     out[tap, c, o] = sum over pixels of x[pixel moved by the tap, c] * g[pixel, o]
 *
 * A work-item computes TM channels of one tap by TN vectors of V columns o, over one chunk of the
 * pixels in the order that reference.py lays down; add_parts.cl adds up the chunks. g comes in
 * panels made by pack.cl whose k runs over lines and then along a line. All pixels of a line are
 * inside x for a tap, or an interval of them is, so the inner loop has no test.
 *
 *     TAPS        spatial dimensions
 *     LD          dimensions of the lines: batch and all spatial ones but the last,
 *                 or with LINE_IS_BATCH all spatial ones (small images: a line is the batch)
 *     FIRST_TAP   the line dimension that is the first spatial one
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
#define LD 2
#define FIRST_TAP 1
#define GROUP_SIZE 16, 8, 1
#endif
#include "common.h"
#include "tile.h"

#ifdef LINE_IS_BATCH
#define LINE_TAPS TAPS
#else
#define LINE_TAPS (TAPS - 1)
#endif

typedef struct {
    INDEX channels, cols, c_step, c_blocks, all_taps, row_groups, blocks, panel_group;
    INDEX lines, length, parts, chunk;
    INDEX line_shape[LD], line_x[LD], length_x;
    INDEX group_x, group_out, part_out, c_out, col_out, x_offset, out_offset;
    INDEX size[TAPS], taps[TAPS], stride[TAPS], padding[TAPS], dilation[TAPS], tap_x[TAPS], tap_out[TAPS];
} grad_t;

KERNEL void weight_grad(const grad_t layout, __global T *out, __global const T *x, __global const T *panels)
{
    INDEX number = get_group_id(0);
    const INDEX row = number % layout.row_groups * GM + (INDEX)get_local_id(1);     /* (tap, block of channels) */
    number /= layout.row_groups;
    const INDEX block = number % layout.blocks;
    number /= layout.blocks;
    const INDEX group = number / layout.parts, part = number % layout.parts;
    const int lane = get_local_id(0);
    if (row >= layout.c_blocks * layout.all_taps)
        return;

    const INDEX c0 = row % layout.c_blocks * TM;
    INDEX shift[TAPS];          /* pixels by which this tap looks beside */
    INDEX at = layout.x_offset + group * layout.group_x;
    INDEX to = layout.out_offset + group * layout.group_out + part * layout.part_out + c0 * layout.c_out;
    INDEX rest = row / layout.c_blocks;
    #pragma unroll
    for (int d = TAPS - 1; d >= 0; d--) {
        const INDEX tap = d ? rest % layout.taps[d] : rest;
        rest /= layout.taps[d];
        shift[d] = tap * layout.dilation[d] - layout.padding[d];
        at += tap * layout.tap_x[d];
        to += tap * layout.tap_out[d];
    }

    /* pixels of the chunk, and of each line those inside x for this tap */
    const INDEX first = part * layout.chunk, last = min(first + layout.chunk, layout.lines * layout.length);
    INDEX low = 0, high = layout.length;
#ifndef LINE_IS_BATCH
    /* 0 <= i * stride + shift < size */
    const INDEX s = layout.stride[TAPS - 1], before = shift[TAPS - 1];
    if (before < 0)
        low = (-before + s - 1) / s;
    high = layout.size[TAPS - 1] > before ? min(high, (layout.size[TAPS - 1] - 1 - before) / s + 1) : 0;
#endif

    VT sum[TM][TN];
    #pragma unroll
    for (int m = 0; m < TM; m++)
        #pragma unroll
        for (int t = 0; t < TN; t++)
            sum[m][t] = 0;
    INDEX channel[TM];          /* channels past the end repeat the last */
    #pragma unroll
    for (int m = 0; m < TM; m++)
        channel[m] = min(c0 + m, layout.channels - 1) * layout.c_step;

    __global const T *panels_here = panels + group * (long)layout.panel_group
        + block * PANEL * (long)layout.lines * layout.length + lane * V;
    for (INDEX line = first / layout.length; line * layout.length < last; line++) {
        const INDEX from = max(low, first - line * layout.length), end = min(high, last - line * layout.length);
        INDEX offset = at, left = line;
        bool inside = true;
        #pragma unroll
        for (int d = LD - 1; d >= 0; d--) {
            const INDEX i = d ? left % layout.line_shape[d] : left;
            left /= layout.line_shape[d];
            offset += i * layout.line_x[d];
            if (d >= FIRST_TAP && d < FIRST_TAP + LINE_TAPS) {
                const INDEX pixel = i * layout.stride[d - FIRST_TAP] + shift[d - FIRST_TAP];
                inside &= (pixel >= 0) & (pixel < layout.size[d - FIRST_TAP]);
            }
        }
        if (!inside)
            continue;
        __global const T *p[TM];
        #pragma unroll
        for (int m = 0; m < TM; m++)
            p[m] = x + (offset + channel[m]);
        __global const T *panel = panels_here + (line * (long)layout.length + from) * PANEL;
        for (INDEX i = from; i < end; i++) {
            const long move = i * (long)layout.length_x;
            VT b[TN];
            #pragma unroll
            for (int t = 0; t < TN; t++)
                b[t] = LOAD(panel + t * GN * V);
            panel += PANEL;
            #pragma unroll
            for (int m = 0; m < TM; m++) {
                const VT a = (VT)(p[m][move]);
                #pragma unroll
                for (int t = 0; t < TN; t++)
                    sum[m][t] = FMA(a, b[t], sum[m][t]);
            }
        }
    }

    #pragma unroll
    for (int t = 0; t < TN; t++) {
        const INDEX col = block * PANEL + (t * GN + lane) * V;
        if (col >= layout.cols)
            continue;
        const int columns = (int)min((INDEX)V, layout.cols - col);
        #pragma unroll
        for (int m = 0; m < TM; m++) {
            if (c0 + m >= layout.channels)
                continue;
            __global T *target = out + (to + m * layout.c_out + col * layout.col_out);
#ifdef OUT_STEP_1
            if (columns == V) {
                STORE(sum[m][t], target);
                continue;
            }
#endif
            T values[V];
            STORE(sum[m][t], values);
            for (int v = 0; v < columns; v++)
                target[v * (long)layout.col_out] = values[v];
        }
    }
}

/* Winograd convolution: its register tile, and, by winograd_tiles.h, its transforms; for one element
 * type T (included once for each).
 *
 * The tile stands beside that of gemm.h because here A has rows (or columns) of FC_WINOGRAD_BLOCK elements, a
 * constant that addresses hold, and because a sum is broken into chunks: what a chunk adds up from 0 is
 * added to C at its end. One long chain of roundings would lose more digits than the transforms do.
 */
#define FC(name) FC_CAT(name, SUFFIX)
#define LANES ((int64_t)(FC_VECTOR_BYTES / sizeof(T)))
#define NR (2 * LANES)

typedef T FC(wvec) __attribute__((vector_size(FC_VECTOR_BYTES), aligned(sizeof(T)), may_alias));

/* by_rows: A is [rows][FC_WINOGRAD_BLOCK], k inside the row; else [k][FC_WINOGRAD_BLOCK], rows inside. */
FC_INLINE void FC(wtile)(const int rows, const int vectors, const int by_rows, const T *a, const T *b, T *c,
                         int64_t c_stride, int64_t k, int add) {
    FC(wvec) acc[FC_TILE_ROWS][2];
    FC_UNROLL for (int r = 0; r < rows; r++)
        FC_UNROLL for (int v = 0; v < vectors; v++)
            acc[r][v] = (FC(wvec)){0};
    for (int64_t p = 0; p < k; p++) {
        FC(wvec) bv[2];
        FC_UNROLL for (int v = 0; v < vectors; v++)
            bv[v] = *(const FC(wvec) *)(b + v * LANES);
        FC_UNROLL for (int r = 0; r < rows; r++) {
            const T ar = by_rows ? a[r * FC_WINOGRAD_BLOCK] : a[r];
            FC_UNROLL for (int v = 0; v < vectors; v++)
                acc[r][v] += ar * bv[v];
        }
        a += by_rows ? 1 : FC_WINOGRAD_BLOCK;
        b += NR;
    }
    FC_UNROLL for (int r = 0; r < rows; r++)
        FC_UNROLL for (int v = 0; v < vectors; v++) {
            FC(wvec) *to = (FC(wvec) *)(c + r * c_stride + v * LANES);
            if (add)
                acc[r][v] += *to;
            *to = acc[r][v];
        }
}

#define FC_DEFINE_WTILE(R) \
    static void FC(wtile_##R)(int vectors, int by_rows, const T *a, const T *b, T *c, int64_t c_stride, int64_t k, \
                              int add) { \
        if (vectors == 2 && by_rows) \
            FC(wtile)(R, 2, 1, a, b, c, c_stride, k, add); \
        else if (vectors == 2) \
            FC(wtile)(R, 2, 0, a, b, c, c_stride, k, add); \
        else if (by_rows) \
            FC(wtile)(R, 1, 1, a, b, c, c_stride, k, add); \
        else \
            FC(wtile)(R, 1, 0, a, b, c, c_stride, k, add); \
    }
FC_DEFINE_WTILE(1) FC_DEFINE_WTILE(2) FC_DEFINE_WTILE(3) FC_DEFINE_WTILE(4) FC_DEFINE_WTILE(5) FC_DEFINE_WTILE(6)
#if FC_TILE_ROWS == 14
FC_DEFINE_WTILE(7) FC_DEFINE_WTILE(8) FC_DEFINE_WTILE(9) FC_DEFINE_WTILE(10) FC_DEFINE_WTILE(11) FC_DEFINE_WTILE(12)
FC_DEFINE_WTILE(13) FC_DEFINE_WTILE(14)
#endif

static void FC(winograd_multiply)(int by_rows, const void *a, int64_t a_block, int64_t rows, const void *b,
                                  int64_t b_panel, void *c, int64_t c_stride, int64_t columns, int64_t k, int64_t chunk,
                                  int accumulate) {
    static void (*const tiles[])(int, int, const T *, const T *, T *, int64_t, int64_t, int) = {
        0, FC(wtile_1), FC(wtile_2), FC(wtile_3), FC(wtile_4), FC(wtile_5), FC(wtile_6),
#if FC_TILE_ROWS == 14
        FC(wtile_7), FC(wtile_8), FC(wtile_9), FC(wtile_10), FC(wtile_11), FC(wtile_12), FC(wtile_13), FC(wtile_14),
#endif
    };
    const int64_t blocks = (rows + FC_TILE_ROWS - 1) / FC_TILE_ROWS;
    for (int64_t j = 0; j < columns; j += NR) {
        const T *panel = (const T *)b + j / NR * b_panel;
        for (int64_t p = 0; p < k; p += chunk) {        /* a chunk of the panel and C of all rows stay in L1 */
            const T *from = (const T *)a + (by_rows ? p / FC_WINOGRAD_BLOCK * a_block + p % FC_WINOGRAD_BLOCK
                                            : p * FC_WINOGRAD_BLOCK);
            for (int64_t i = 0; i < blocks; i++) {
                const int64_t row = i * rows / blocks, n = (i + 1) * rows / blocks - row;
                tiles[n](columns - j > LANES ? 2 : 1, by_rows, from + row * (by_rows ? FC_WINOGRAD_BLOCK : 1),
                         panel + p * NR, (T *)c + row * c_stride + j, c_stride, k - p < chunk ? k - p : chunk,
                         accumulate || p > 0);
            }
        }
    }
}

#undef FC_DEFINE_WTILE
#undef LANES
#undef NR

/* --- transforms ------------------------------------------------------------------------------------ */

FC_INLINE FC(wvec) FC(wfma)(FC(wvec) a, FC(wvec) b, FC(wvec) c) { return FC_CAT(FC_VECTOR_FMA, SUFFIX)(FC(wvec), a, b, c); }

#define FC_W FC
#define FC_VALUE FC(wvec)
#define FC_NUMBER T
#define FC_WFMA(k, x, y) FC(wfma)((FC(wvec)){0} + (T)(k), x, y)
#define FC_WMUL(k, x) FC(wfma)((FC(wvec)){0} + (T)(k), x, -(FC(wvec)){0})      /* adding -0 changes nothing */
#include "../../winograd_math.h"
#undef FC_W
#undef FC_VALUE
#undef FC_NUMBER
#undef FC_WFMA
#undef FC_WMUL
#undef FC

#define TILE 4
#include "winograd_tiles.h"
#undef TILE
#define TILE 2
#include "winograd_tiles.h"
#undef TILE

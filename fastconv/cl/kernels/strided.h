/* Walking OPERANDS operands together, one work-item per element: a kernel takes a `layout_t layout`
 * and writes
 *
 *     ELEMENT_BEGIN  ... a[AT(0)] = f(b[AT(1)]) ...  ELEMENT_END
 *
 *     ND       dimensions left after merging; 0 = every operand is dense in the same order
 *     INNER    the innermost dimension is long enough for rows of a work-group, LX items wide and LY
 *              rows high: all but the innermost index is computed once per row
 *     STEP<k>  with INNER: i times operand k's stride in the innermost dimension, which for strides
 *              0 and 1 is a constant, so that compilers see broadcasts and whole vectors
 */
#if ND == 0

typedef struct { long size, offset[OPERANDS]; } layout_t;
#define AT(k) (i + layout.offset[k])
#define ELEMENT_BEGIN const long i = get_global_id(0); if (i < layout.size) {
#define ELEMENT_END }

#else

typedef struct {
    INDEX size, inner, blocks, offset[OPERANDS], shape[ND], magic[ND], shift[ND], strides[OPERANDS][ND];
} layout_t;

/* i / shape[d]. With 32 bits, i < 2^31, that is the high half of a product with a reciprocal
 * from the host: GPUs and vector units have no integer division. (Granlund, Montgomery 1994) */
static inline INDEX divide(INDEX i, const layout_t *layout, int d)
{
#ifdef INDEX_32
    return mul_hi((uint)i, (uint)layout->magic[d]) >> layout->shift[d];
#else
    return i / layout->shape[d];
#endif
}

#ifdef INNER
#define DIMS (ND - 1)       /* those behind `size` items: rows */
#else
#define DIMS ND             /* elements */
#endif

static inline void locate(INDEX rest, const layout_t *layout, INDEX *position)
{
    #pragma unroll
    for (int d = DIMS - 1; d > 0; d--) {
        const INDEX quotient = divide(rest, layout, d);
        position[d] = rest - quotient * layout->shape[d];
        rest = quotient;
    }
    position[0] = rest;
}

static inline INDEX offset_of(const layout_t *layout, const INDEX *position, int k)
{
    INDEX offset = layout->offset[k];
    #pragma unroll
    for (int d = 0; d < DIMS; d++)
        offset += position[d] * layout->strides[k][d];
    return offset;
}

#ifdef INNER
#define AT(k) (long)offset_of(&layout, position, k) + STEP##k
#define STRIDE(k) ((long)layout.strides[k][ND - 1])
#define ELEMENT_BEGIN \
    const size_t i = get_group_id(0) % layout.blocks * LX + get_local_id(0); \
    const INDEX row = get_group_id(0) / layout.blocks * LY + get_local_id(1); \
    if (row < layout.size && i < (size_t)layout.inner) { \
        INDEX position[ND]; locate(row, &layout, position);
#else
#define AT(k) offset_of(&layout, position, k)
#define ELEMENT_BEGIN const INDEX i = get_global_id(0); if (i < layout.size) { \
    INDEX position[ND]; locate(i, &layout, position);
#endif
#define ELEMENT_END }

#endif

/* Elementwise kernels: one contiguous loop for every row of scalar_ops.h and every dtype of its
 * domain, conversions between all dtypes, and where.
 *
 *     map_<op>_<dtype>(out, x, n)     out[i] = op(x[0][i], x[1][i], ...)
 */
#include "scalar_math.h"

/* M(dtype, T, ...) for each dtype of a domain. */
#define FC_EACH_FLOAT(M, ...) M(f32, float, __VA_ARGS__) M(f64, double, __VA_ARGS__)
#define FC_EACH_INTEGER(M, ...) M(i32, int32_t, __VA_ARGS__) M(i64, int64_t, __VA_ARGS__) M(u8, uint8_t, __VA_ARGS__)
#define FC_EACH_NUMBER(M, ...) FC_EACH_FLOAT(M, __VA_ARGS__) FC_EACH_INTEGER(M, __VA_ARGS__)
#define FC_EACH_ANY(M, ...) FC_EACH_NUMBER(M, __VA_ARGS__) M(b1, uint8_t, __VA_ARGS__)

#define FC_SLOT_f32 FC_F32
#define FC_SLOT_f64 FC_F64
#define FC_SLOT_i32 FC_I32
#define FC_SLOT_i64 FC_I64
#define FC_SLOT_u8 FC_U8
#define FC_SLOT_b1 FC_BOOL

#define FC_SAME(T) T
#define FC_BOOLEAN(T) uint8_t
#define FC_RESULT_SAME FC_SAME
#define FC_RESULT_BOOL FC_BOOLEAN

#define FC_OPERANDS_1(T) const T *p0 = x[0];
#define FC_OPERANDS_2(T) FC_OPERANDS_1(T) const T *p1 = x[1];
#define FC_OPERANDS_3(T) FC_OPERANDS_2(T) const T *p2 = x[2];
#define FC_OPERANDS_5(T) FC_OPERANDS_3(T) const T *p3 = x[3]; const T *p4 = x[4];
#define FC_LOADS_1(T) const T x0 = p0[i];
#define FC_LOADS_2(T) FC_LOADS_1(T) const T x1 = p1[i];
#define FC_LOADS_3(T) FC_LOADS_2(T) const T x2 = p2[i];
#define FC_LOADS_5(T) FC_LOADS_3(T) const T x3 = p3[i]; const T x4 = p4[i];

#define FC_DEFINE_MAP(dtype, T, name, arity, result, expression) \
    static void map_##name##_##dtype(void *out, const void *const *x, int64_t n) { \
        result(T) *y = out; \
        FC_OPERANDS_##arity(T) \
        FC_SIMD for (int64_t i = 0; i < n; i++) { \
            FC_LOADS_##arity(T) \
            y[i] = (result(T))(expression); \
        } \
    }
#define FC_OP(name, arity, domain, result, ...) \
    FC_EACH_##domain(FC_DEFINE_MAP, name, arity, FC_RESULT_##result, (__VA_ARGS__))
#include "../../scalar_ops.h"
#undef FC_OP

/* Conversions. Through int64_t from a float to uint8, so that values out of range wrap. */
#define FC_TO_f32(v) ((float)(v))
#define FC_TO_f64(v) ((double)(v))
#define FC_TO_i32(v) ((int32_t)(v))
#define FC_TO_i64(v) ((int64_t)(v))
#define FC_TO_u8(v) ((uint8_t)(int64_t)(v))
#define FC_TO_b1(v) ((uint8_t)((v) != 0))
#define FC_DEFINE_CAST(from, S, to, D) \
    static void cast_##to##_##from(void *out, const void *const *x, int64_t n) { \
        D *y = out; \
        const S *p = x[0]; \
        FC_SIMD for (int64_t i = 0; i < n; i++) \
            y[i] = FC_TO_##to(p[i]); \
    }
FC_EACH_ANY(FC_DEFINE_CAST, f32, float)
FC_EACH_ANY(FC_DEFINE_CAST, f64, double)
FC_EACH_ANY(FC_DEFINE_CAST, i32, int32_t)
FC_EACH_ANY(FC_DEFINE_CAST, i64, int64_t)
FC_EACH_ANY(FC_DEFINE_CAST, u8, uint8_t)
FC_EACH_ANY(FC_DEFINE_CAST, b1, uint8_t)

#define FC_DEFINE_WHERE(dtype, T, _) \
    static void where_##dtype(void *out, const void *const *x, int64_t n) { \
        T *y = out; \
        const uint8_t *condition = x[0]; \
        const T *a = x[1], *b = x[2]; \
        FC_SIMD for (int64_t i = 0; i < n; i++) \
            y[i] = condition[i] ? a[i] : b[i]; \
    }
FC_EACH_ANY(FC_DEFINE_WHERE, )

#define FC_MAP_ENTRY(dtype, T, name) [FC_SLOT_##dtype] = map_##name##_##dtype,
#define FC_OP(name, arity, domain, result, ...) [FC_INDEX_##name] = {FC_EACH_##domain(FC_MAP_ENTRY, name)},
static const fc_map fc_map_rows[FC_OPS][FC_DTYPES] = {
#include "../../scalar_ops.h"
};
#undef FC_OP
#define FC_CAST_ENTRY(from, S, to) [FC_SLOT_##from] = cast_##to##_##from,
static const fc_map fc_cast_rows[FC_DTYPES][FC_DTYPES] = {
    [FC_F32] = {FC_EACH_ANY(FC_CAST_ENTRY, f32)},
    [FC_F64] = {FC_EACH_ANY(FC_CAST_ENTRY, f64)},
    [FC_I32] = {FC_EACH_ANY(FC_CAST_ENTRY, i32)},
    [FC_I64] = {FC_EACH_ANY(FC_CAST_ENTRY, i64)},
    [FC_U8] = {FC_EACH_ANY(FC_CAST_ENTRY, u8)},
    [FC_BOOL] = {FC_EACH_ANY(FC_CAST_ENTRY, b1)},
};

#define FC_WHERE_ENTRY(dtype, T, _) [FC_SLOT_##dtype] = where_##dtype,
static const fc_map fc_where_row[FC_DTYPES] = {FC_EACH_ANY(FC_WHERE_ENTRY, )};

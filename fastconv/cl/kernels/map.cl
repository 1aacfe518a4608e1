/* out[i] = f(x0[i], x1[i], ...): one program per function, dtype, pattern of scalar operands and
 * number of dimensions.
 *
 *     ND, OPERANDS  see strided.h: out and the array inputs
 *     PARAMS    the inputs as kernel parameters: pointers x<k>, or values
 *     VALUES    the inputs at this element: x<k>[AT(<operand>)], or the value
 *     FUNCTION  fc_<row of scalar_ops.h>, fc_copy or fc_where
 *     TO        element type of out, when not T; TO_BOOL: it is bool, stored as uchar 0 or 1
 */
#ifndef FUNCTION
#define FUNCTION fc_add
#define T float
#define TO float
#define IS_FLOAT
#define INDEX int
#define ND 2
#define OPERANDS 3
#define PARAMS __global const float *x0, __global const float *x1
#define VALUES x0[AT(1)], x1[AT(2)]
#define GROUP_SIZE 256, 1, 1
#endif
#include "common.h"
#include "scalar_math.h"

static inline T power_of(T x, T e)
{
#ifdef IS_FLOAT
    return pow(x, e);
#else
    T result = 1;
    if (e < 0)                          /* what is left of 1 / x^-e in integers */
        return x == 1 ? 1 : x + 1 == 0 ? (e & 1 ? -1 : 1) : 0;
    for (; e; e >>= 1, x *= x)
        if (e & 1)
            result *= x;
    return result;
#endif
}
#define FC_POW power_of
#ifdef IS_FLOAT
#define FC_FMOD fmod
#else
#define FC_FMOD(x, y) ((y) == 0 || (y) + 1 == 0 ? 0 : (x) % (y))
#endif

/* The name is pasted at once: drivers have macros called abs or sqrt. */
#define FC_OP(name, arity, domain, result, expression) FC_##domain(FC_##result, fc_##name, arity, (expression))
#define FC_SAME T
#define FC_BOOL uchar
#define FC_DEFINE(type, name, arity, expression) static inline type name(FC_TAKES_##arity) { return expression; }
#define FC_DEFINE_(type, name, arity, expression) FC_DEFINE(type, name, arity, expression)
#define FC_TAKES_1 T x0
#define FC_TAKES_2 T x0, T x1
#define FC_TAKES_3 T x0, T x1, T x2
#define FC_TAKES_4 T x0, T x1, T x2, T x3
#define FC_TAKES_5 T x0, T x1, T x2, T x3, T x4
#define FC_NOTHING(type, name, arity, expression)
#ifdef IS_FLOAT
#define FC_FLOAT FC_DEFINE_
#define FC_INTEGER FC_NOTHING
#else
#define FC_FLOAT FC_NOTHING
#endif
#ifdef IS_BOOL
#define FC_NUMBER FC_NOTHING
#define FC_INTEGER FC_NOTHING
#else
#define FC_NUMBER FC_DEFINE_
#endif
#ifndef FC_INTEGER
#define FC_INTEGER FC_DEFINE_
#endif
#define FC_ANY FC_DEFINE_
#include "scalar_ops.h"

#ifdef TO_BOOL
#define fc_copy(x0) ((x0) != 0)
#else
#define fc_copy(x0) ((TO)(x0))
#endif
static inline TO fc_where(uchar x0, TO x1, TO x2) { return x0 ? x1 : x2; }

#include "strided.h"

KERNEL void map(const layout_t layout, __global TO *out, PARAMS)
{
    ELEMENT_BEGIN
    out[AT(0)] = FUNCTION(VALUES);
    ELEMENT_END
}

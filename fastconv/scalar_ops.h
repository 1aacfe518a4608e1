/* The scalar functions of `map`, once for every device.
 *
 *     FC_OP(name, arity, domain, result, expression)
 *
 * The C side (_cy/kernels) and the OpenCL side (cl/kernels) include this table with their own
 * FC_OP; reference.py has a NumPy line of the same name, and tests/test_contract.py compares them.
 *
 * domain      FLOAT    float32, float64
 *             NUMBER   FLOAT and int32, int64, uint8
 *             INTEGER  int32, int64, uint8
 *             ANY      NUMBER and bool
 * result      SAME     the dtype of the inputs
 *             BOOL     0 or 1
 * expression  over x0, x1, ... of type T (the inputs' dtype; bool is stored as uint8 0 or 1).
 *             FC_EXP, FC_LOG, FC_TANH, FC_ERF, FC_SIGMOID and FC_SOFTPLUS are float_math.h's for float and the
 *             library's for double, FC_SQRT is rounded correctly, FC_POW is pow for floats and exact
 *             repeated multiplication for integers; FC_FLOOR to FC_FMOD are the library's. A product that meets a sum is FC_FMA(a, b, c) =
 *             a * b + c: left to compilers, some would round once and some twice.
 *
 * `copy` (which converts dtypes) and `where` (whose first input is bool) have mixed dtypes and are
 * kernels of their own on every device.
 */
FC_OP(negative,      1, NUMBER, SAME, -x0)
FC_OP(abs,           1, NUMBER, SAME, x0 < 0 ? -x0 : x0 + 0)
FC_OP(reciprocal,    1, FLOAT,  SAME, 1 / x0)
FC_OP(square,        1, NUMBER, SAME, x0 * x0)
FC_OP(sqrt,          1, FLOAT,  SAME, FC_SQRT(x0))
FC_OP(rsqrt,         1, FLOAT,  SAME, 1 / FC_SQRT(x0))
FC_OP(exp,           1, FLOAT,  SAME, FC_EXP(x0))
FC_OP(log,           1, FLOAT,  SAME, FC_LOG(x0))
FC_OP(tanh,          1, FLOAT,  SAME, FC_TANH(x0))
FC_OP(erf,           1, FLOAT,  SAME, FC_ERF(x0))
FC_OP(sigmoid,       1, FLOAT,  SAME, FC_SIGMOID(x0))
FC_OP(softplus,      1, FLOAT,  SAME, FC_SOFTPLUS(x0))
FC_OP(relu,          1, NUMBER, SAME, x0 < 0 ? 0 : x0)
FC_OP(sign,          1, NUMBER, SAME, x0 > 0 ? 1 : x0 < 0 ? -1 : x0)
FC_OP(isfinite,      1, FLOAT,  BOOL, x0 - x0 == 0)
FC_OP(logical_not,   1, ANY,    BOOL, x0 == 0)
FC_OP(floor,         1, FLOAT,  SAME, FC_FLOOR(x0))
FC_OP(ceil,          1, FLOAT,  SAME, FC_CEIL(x0))
FC_OP(round,         1, FLOAT,  SAME, FC_RINT(x0))
FC_OP(sin,           1, FLOAT,  SAME, FC_SIN(x0))
FC_OP(cos,           1, FLOAT,  SAME, FC_COS(x0))
FC_OP(tan,           1, FLOAT,  SAME, FC_TAN(x0))
FC_OP(asin,          1, FLOAT,  SAME, FC_ASIN(x0))
FC_OP(acos,          1, FLOAT,  SAME, FC_ACOS(x0))
FC_OP(atan,          1, FLOAT,  SAME, FC_ATAN(x0))
FC_OP(sinh,          1, FLOAT,  SAME, FC_SINH(x0))
FC_OP(cosh,          1, FLOAT,  SAME, FC_COSH(x0))
FC_OP(asinh,         1, FLOAT,  SAME, FC_ASINH(x0))
FC_OP(acosh,         1, FLOAT,  SAME, FC_ACOSH(x0))
FC_OP(atanh,         1, FLOAT,  SAME, FC_ATANH(x0))
FC_OP(bitwise_not,   1, INTEGER, SAME, ~x0)

FC_OP(add,           2, NUMBER, SAME, x0 + x1)
FC_OP(subtract,      2, NUMBER, SAME, x0 - x1)
FC_OP(multiply,      2, NUMBER, SAME, x0 * x1)
FC_OP(divide,        2, FLOAT,  SAME, x0 / x1)
FC_OP(power,         2, NUMBER, SAME, FC_POW(x0, x1))
FC_OP(maximum,       2, ANY,    SAME, x0 > x1 || x0 != x0 ? x0 : x1)
FC_OP(minimum,       2, ANY,    SAME, x0 < x1 || x0 != x0 ? x0 : x1)
FC_OP(equal,         2, ANY,    BOOL, x0 == x1)
FC_OP(not_equal,     2, ANY,    BOOL, x0 != x1)
FC_OP(less,          2, ANY,    BOOL, x0 < x1)
FC_OP(less_equal,    2, ANY,    BOOL, x0 <= x1)
FC_OP(greater,       2, ANY,    BOOL, x0 > x1)
FC_OP(greater_equal, 2, ANY,    BOOL, x0 >= x1)
FC_OP(logical_and,   2, ANY,    BOOL, x0 != 0 && x1 != 0)
FC_OP(logical_or,    2, ANY,    BOOL, x0 != 0 || x1 != 0)
FC_OP(logical_xor,   2, ANY,    BOOL, (x0 != 0) != (x1 != 0))
/* The rest of a division that rounds towards 0, and for integers its quotient: both 0 for a divisor of 0. */
FC_OP(fmod,          2, NUMBER, SAME, FC_FMOD(x0, x1))
FC_OP(truncated_divide, 2, INTEGER, SAME, x1 == 0 ? 0 : x1 + 1 == 0 ? -x0 : x0 / x1)
FC_OP(bitwise_and,   2, INTEGER, SAME, x0 & x1)
FC_OP(bitwise_or,    2, INTEGER, SAME, x0 | x1)
FC_OP(bitwise_xor,   2, INTEGER, SAME, x0 ^ x1)
/* By the width or more every bit is shifted out. */
FC_OP(left_shift,    2, INTEGER, SAME, x1 >= 0 && x1 < 8 * (int)sizeof(x0) ? x0 << x1 : 0)
FC_OP(right_shift,   2, INTEGER, SAME, x1 >= 0 && x1 < 8 * (int)sizeof(x0) ? x0 >> x1 : x0 < 0 ? -1 : 0)
/* g * tanh'(x), and g where y is positive: gradients from the output y. */
FC_OP(tanh_grad,     2, FLOAT,  SAME, x0 * FC_FMA(-x1, x1, 1))
FC_OP(relu_grad,     2, FLOAT,  SAME, x1 > 0 ? x0 : 0)

/* min(max(x, low), high), NaN stays NaN. */
FC_OP(clip,          3, NUMBER, SAME, x0 < x1 ? x1 : x0 > x2 ? x2 : x0)
/* From x0 towards x1 by the fraction x2: a running average. */
FC_OP(lerp,          3, FLOAT,  SAME, FC_FMA(x1 - x0, x2, x0))

/* x, mean, rstd, weight, bias: one pass of a normalisation. */
FC_OP(normalize,     5, FLOAT,  SAME, FC_FMA(x0 - x1, x2 * x3, x4))

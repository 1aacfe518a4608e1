/* What the products share: a work-item computes TM rows by TN vectors of V columns, GN neighbouring
 * items take the columns of one panel, interleaved so that they read next to each other.
 */
#define PANEL (GN * TN * V)
#define VT VECTOR(T)

#ifdef FP_FAST_FMAF
#define FMA fma
#else
#define FMA mad
#endif

#ifdef ROWS_FIRST
#define ROW_AXIS 0
#define COL_AXIS 1
#else
#define ROW_AXIS 1
#define COL_AXIS 0
#endif

/* FC_FMA(a, b, c) = a * b + c of T, FC_FMAF of floats, rounded once on a device that has the instruction.
 * HAS_FMA comes from the host (CL_FP_FMA); drivers may leave FP_FAST_FMAF out. Other products and sums
 * stay apart: compilers may contract them, each in its own way, and devices would disagree in the last bit.
 */
#pragma OPENCL FP_CONTRACT OFF
#if defined(HAS_FMA) || defined(FP_FAST_FMAF)
#define FUSED
#define FC_FMA(a, b, c) fma((T)(a), (T)(b), (T)(c))
#define FC_FMAF fma
#else
#define FC_FMA(a, b, c) ((a) * (b) + (c))
#define FC_FMAF FC_FMA
#endif

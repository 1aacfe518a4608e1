/* The transforms of Winograd convolution, F(4x4, 3x3) and F(2x2, 3x3), once for every device.
 *
 * Points 0, 3/4, -3/4, 3/2, -3/2 and infinity for tiles of 4, whose products lose about half as many digits
 * as those of 0, 1, -1, 2, -2; 0, 1, -1 and infinity for tiles of 2. With the matrices B, G and A of
 * Lavin and Gray (Fast algorithms for convolutional neural networks, 2016), of a line:
 *
 *     image        B^T d    tile + 2 values to as many points
 *     kernel       G w      3 taps to points
 *     result       A^T m    points to tile outputs
 *     grad         A g      tile outputs to points          (the transposed algorithm: the gradient of
 *     kernel_grad  G^T m    points to 3 taps                 the kernel from image and grad)
 *
 * A square is transformed along its columns, then along its rows. C (_cy/kernels) and OpenCL (cl/kernels)
 * compile this text, so that devices agree to the last bit: every product that meets a sum is
 * explicitly fused, and those that stand alone are FC_WMUL. The includer defines
 *
 *     FC_W(name)              what a function is called
 *     FC_VALUE, FC_NUMBER     type of the values (vectors allowed), and of a constant
 *     FC_WFMA(k, x, y)        k * x + y, rounded once where the device can; k is a constant
 *     FC_WMUL(k, x)           k * x, never contracted with what follows
 *     FC_FUNCTION, FC_UNROLL  what stands before an inline function, and before a loop to unroll
 */
#define FC_LINE(name, to, from) FC_FUNCTION void FC_W(name##_line)(FC_VALUE y[to], const FC_VALUE x[from])

/* A function on squares from one on lines. */
#define FC_SQUARE(name, to, from) \
    FC_FUNCTION void FC_W(name)(FC_VALUE y[to][to], FC_VALUE x[from][from]) \
    { \
        FC_VALUE half[to][from], line[from], transformed[to]; \
        FC_UNROLL for (int j = 0; j < from; j++) { \
            FC_UNROLL for (int i = 0; i < from; i++) \
                line[i] = x[i][j]; \
            FC_W(name##_line)(transformed, line); \
            FC_UNROLL for (int i = 0; i < to; i++) \
                half[i][j] = transformed[i]; \
        } \
        FC_UNROLL for (int i = 0; i < to; i++) \
            FC_W(name##_line)(y[i], half[i]); \
    }

FC_LINE(image_4, 6, 6)
{
    const FC_VALUE a = FC_WFMA(-2.25f, x[2], x[4]), b = FC_WFMA(-2.25f, x[1], x[3]);
    const FC_VALUE c = FC_WFMA(-0.5625f, x[2], x[4]), d = FC_WFMA(-0.5625f, x[1], x[3]);
    y[0] = FC_WFMA(1.265625f, x[0], FC_WFMA(-2.8125f, x[2], x[4]));
    y[1] = FC_WFMA(0.75f, b, a);
    y[2] = FC_WFMA(-0.75f, b, a);
    y[3] = FC_WFMA(1.5f, d, c);
    y[4] = FC_WFMA(-1.5f, d, c);
    y[5] = FC_WFMA(1.265625f, x[1], FC_WFMA(-2.8125f, x[3], x[5]));
}

FC_LINE(kernel_4, 6, 3)
{
    const FC_VALUE a = FC_WFMA(0.5625f, x[2], x[0]), b = FC_WFMA(2.25f, x[2], x[0]);
    y[0] = FC_WMUL((FC_NUMBER)64 / 81, x[0]);
    y[1] = FC_WMUL((FC_NUMBER)-128 / 243, FC_WFMA(0.75f, x[1], a));
    y[2] = FC_WMUL((FC_NUMBER)-128 / 243, FC_WFMA(-0.75f, x[1], a));
    y[3] = FC_WMUL((FC_NUMBER)32 / 243, FC_WFMA(1.5f, x[1], b));
    y[4] = FC_WMUL((FC_NUMBER)32 / 243, FC_WFMA(-1.5f, x[1], b));
    y[5] = x[2];
}

FC_LINE(result_4, 4, 6)
{
    const FC_VALUE a = x[1] + x[2], b = x[1] - x[2], c = x[3] + x[4], d = x[3] - x[4];
    y[0] = (x[0] + a) + c;
    y[1] = FC_WMUL(0.75f, FC_WFMA(2, d, b));
    y[2] = FC_WMUL(0.5625f, FC_WFMA(4, c, a));
    y[3] = FC_WFMA(0.421875f, FC_WFMA(8, d, b), x[5]);
}

FC_LINE(grad_4, 6, 4)
{
    const FC_VALUE a = FC_WFMA(0.5625f, x[2], x[0]), b = FC_WFMA(0.5625f, x[3], x[1]);
    const FC_VALUE c = FC_WFMA(2.25f, x[2], x[0]), d = FC_WFMA(2.25f, x[3], x[1]);
    y[0] = x[0];
    y[1] = FC_WFMA(0.75f, b, a);
    y[2] = FC_WFMA(-0.75f, b, a);
    y[3] = FC_WFMA(1.5f, d, c);
    y[4] = FC_WFMA(-1.5f, d, c);
    y[5] = x[3];
}

FC_LINE(kernel_grad_4, 3, 6)
{
    const FC_VALUE a = x[1] + x[2], b = x[1] - x[2], c = x[3] + x[4], d = x[3] - x[4];
    y[0] = FC_WMUL((FC_NUMBER)32 / 243, FC_WFMA(6, x[0], FC_WFMA(-4, a, c)));
    y[1] = FC_WMUL((FC_NUMBER)16 / 81, FC_WFMA(-2, b, d));
    y[2] = FC_WFMA((FC_NUMBER)8 / 27, c - a, x[5]);
}

FC_LINE(image_2, 4, 4)
{
    y[0] = x[0] - x[2];
    y[1] = x[1] + x[2];
    y[2] = x[2] - x[1];
    y[3] = x[3] - x[1];
}

FC_LINE(kernel_2, 4, 3)
{
    const FC_VALUE a = x[0] + x[2];
    y[0] = x[0];
    y[1] = FC_WMUL(0.5f, a + x[1]);
    y[2] = FC_WMUL(0.5f, a - x[1]);
    y[3] = x[2];
}

FC_LINE(result_2, 2, 4)
{
    y[0] = (x[0] + x[1]) + x[2];
    y[1] = (x[1] - x[2]) + x[3];
}

FC_LINE(grad_2, 4, 2)
{
    y[0] = x[0];
    y[1] = x[0] + x[1];
    y[2] = x[0] - x[1];
    y[3] = x[1];
}

FC_LINE(kernel_grad_2, 3, 4)
{
    const FC_VALUE a = x[1] + x[2];
    y[0] = FC_WFMA(0.5f, a, x[0]);
    y[1] = FC_WMUL(0.5f, x[1] - x[2]);
    y[2] = FC_WFMA(0.5f, a, x[3]);
}

FC_SQUARE(image_4, 6, 6)
FC_SQUARE(kernel_4, 6, 3)
FC_SQUARE(result_4, 4, 6)
FC_SQUARE(grad_4, 6, 4)
FC_SQUARE(kernel_grad_4, 3, 6)
FC_SQUARE(image_2, 4, 4)
FC_SQUARE(kernel_2, 4, 3)
FC_SQUARE(result_2, 2, 4)
FC_SQUARE(grad_2, 4, 2)
FC_SQUARE(kernel_grad_2, 3, 4)

#undef FC_LINE
#undef FC_SQUARE

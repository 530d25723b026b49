/* H-Fac's passes over a matrix of float32 on a CPU; native.py calls it.

Each sum is taken in one order, whatever the number of threads, so that a step gives the same bits. */

#include <stdint.h>
#include <string.h>

enum { PARTS = 64 }; /* at most, of a matrix whose rows are summed side by side */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Of a gradient [m, n]: means of rows and sums of their squares, rows [2, m]; sums of columns and of their squares,
   columns [2, n]; squares plus epsilon each. `spare` [PARTS, 2, n]. */
void sums(const float *gradient, int64_t m, int64_t n, float epsilon, float *rows, float *columns, float *spare,
          int32_t threads) {
    int64_t height = m > 128 * PARTS ? (m + PARTS - 1) / PARTS : 128, parts = (m + height - 1) / height;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t part = 0; part < parts; part++) {
            float *plain = spare + 2 * n * part, *square = plain + n;
            memset(plain, 0, 2 * n * sizeof(float));
            for (int64_t i = part * height; i < least((part + 1) * height, m); i++) {
                const float *restrict x = gradient + i * n;
                float a = 0, b = 0;
#pragma omp simd reduction(+ : a, b)
                for (int64_t j = 0; j < n; j++) {
                    plain[j] += x[j];
                    square[j] += x[j] * x[j];
                    a += x[j];
                    b += x[j] * x[j];
                }
                rows[i] = a / n;
                rows[m + i] = b + n * epsilon;
            }
        }
#pragma omp for schedule(static)
        for (int64_t j = 0; j < 2 * n; j++) {
            float a = 0;
            for (int64_t part = 0; part < parts; part++) a += spare[2 * n * part + j];
            columns[j] = j < n ? a : a + m * epsilon;
        }
    }
}

/* The sum of squares of gradient * by_row[:, None] * by_column. */
double squares(const float *gradient, int64_t m, int64_t n, const float *by_row, const float *by_column,
               int32_t threads) {
    double of_part[PARTS], total = 0;
    if (!m) return 0; /* a process may hold no rows */
    int64_t height = (m + PARTS - 1) / PARTS, parts = (m + height - 1) / height;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t part = 0; part < parts; part++) {
        double own = 0;
        for (int64_t i = part * height; i < least((part + 1) * height, m); i++) {
            const float *restrict x = gradient + i * n;
            float a = 0;
#pragma omp simd reduction(+ : a)
            for (int64_t j = 0; j < n; j++) {
                float y = x[j] * by_column[j];
                a += y * y;
            }
            own += (double)a * by_row[i] * by_row[i];
        }
        of_part[part] = own;
    }
    for (int64_t part = 0; part < parts; part++) total += of_part[part];
    return total;
}

/* Move weights [m, n] by H-Fac's step; of rows and columns what gradients are multiplied by, and what is added. */
void step_factored(float *weights, const float *gradient, int64_t m, int64_t n, const float *by_row,
                   const float *of_rows, const float *by_column, const float *of_columns, float rate,
                   int32_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < m; i++) {
        float *restrict w = weights + i * n;
        const float *restrict x = gradient + i * n, *restrict by = by_column, *restrict of = of_columns;
        const float row = by_row[i], more = of_rows[i];
        for (int64_t j = 0; j < n; j++) w[j] -= ((of[j] + x[j] * row) * by[j] + more) * rate;
    }
}

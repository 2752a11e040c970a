// Products of matrices small enough for the cache, and the layout in which they read their second factor.
#pragma once

#include "kernels.h"
#include "vector.h"

namespace twofold::TWOFOLD_ISA {

// A block of ROWS x WIDTH vectors is summed in registers.
#ifdef __AVX512F__
constexpr int ROWS = 8, WIDTH = 2;
#elif defined(__AVX2__) || defined(__aarch64__)
constexpr int ROWS = 6, WIDTH = 1;
#else
constexpr int ROWS = 3, WIDTH = 1;
#endif

template <class T>
constexpr int64_t PANEL = WIDTH * LANES<T>;  // Columns of a block.

template <class T>
bool finite(int64_t rows, int64_t columns, const T* matrix, int64_t row) {
  Vector<T> sum{};  // of zeros, or NaN
  for (int64_t i = 0; i < rows; i++)
    for_each_vector<T>(columns, [&](int64_t j, auto load, auto) INLINE_LAMBDA { sum += load(matrix + i * row + j) * 0; });
  return TWOFOLD_ISA::sum<T>(sum) == 0;
}

// A packed matrix has its columns in panels, each contiguous, the last one padded with zeros.
template <class T>
int64_t packed_size(int64_t rows, int64_t columns) {
  return (columns + PANEL<T> - 1) / PANEL<T> * PANEL<T> * rows;
}

// `row` and `column` are the distances between entries of `matrix`; one of them is 1.
template <class T>
void pack(int64_t rows, int64_t columns, const T* matrix, int64_t row, int64_t column, T* packed) {
  for (int64_t start = 0; start < columns; start += PANEL<T>, packed += rows * PANEL<T>) {
    const int64_t width = columns - start < PANEL<T> ? columns - start : PANEL<T>;
    if (width < PANEL<T>)
      for (int64_t k = 0; k < rows; k++)
        for (int64_t j = width; j < PANEL<T>; j++) packed[k * PANEL<T> + j] = 0;
    const T* from = matrix + start * column;
    if (column == 1)
      for (int64_t k = 0; k < rows; k++)
        for_each_vector<T>(width, [&](int64_t j, auto load, auto store) INLINE_LAMBDA {
          store(packed + k * PANEL<T> + j, load(from + k * row + j));
        });
    else
      for (int64_t j = 0; j < width; j++)
        for (int64_t k = 0; k < rows; k++) packed[k * PANEL<T> + j] = from[k + j * column];
  }
}

// ROWS_NOW rows of `product`, for one panel of `columns` <= PANEL columns.
template <class T, int ROWS_NOW>
INLINE void block(int64_t columns, int64_t depth, const T* a, int64_t a_row, int64_t a_column, const T* panel, const T* add,
                  int64_t add_row, T* c, int64_t c_row) {
  Vector<T> sums[ROWS_NOW][WIDTH];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS_NOW; i++)
#pragma GCC unroll 8
    for (int w = 0; w < WIDTH; w++) sums[i][w] = Vector<T>{};
  for (int64_t k = 0; k < depth; k++) {
    Vector<T> b[WIDTH];
#pragma GCC unroll 8
    for (int w = 0; w < WIDTH; w++) b[w] = load(panel + k * PANEL<T> + w * LANES<T>);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS_NOW; i++) {
      const T x = a[i * a_row + k * a_column];
#pragma GCC unroll 8
      for (int w = 0; w < WIDTH; w++) sums[i][w] += x * b[w];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS_NOW; i++)
#pragma GCC unroll 8
    for (int w = 0; w < WIDTH; w++) {
      const int64_t n = columns - w * LANES<T>;
      T* to = c + i * c_row + w * LANES<T>;
      const T* from = add ? add + i * add_row + w * LANES<T> : nullptr;
      if (n >= LANES<T>)
        store(to, add ? load(from) + sums[i][w] : sums[i][w]);
      else if (n > 0)
        store(to, add ? load(from, n) + sums[i][w] : sums[i][w], n);
    }
}

// C = `add` + A B, (rows, columns), with B, (depth, columns), the first rows of a packed matrix of `packed_rows`. `add` may be
// null, or C itself.
template <class T>
void product(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t a_row, int64_t a_column, const T* b,
             int64_t packed_rows, const T* add, int64_t add_row, T* c, int64_t c_row) {
  for (int64_t start = 0; start < columns; start += PANEL<T>, b += packed_rows * PANEL<T>) {
    const int64_t here = columns - start;
    const T* from = add ? add + start : nullptr;
    T* to = c + start;
    int64_t i = 0;
    for (; i + ROWS <= rows; i += ROWS)
      block<T, ROWS>(here, depth, a + i * a_row, a_row, a_column, b, from ? from + i * add_row : from, add_row,
                     to + i * c_row, c_row);
    if constexpr (ROWS > 4)
      for (; i + 4 <= rows; i += 4)
        block<T, 4>(here, depth, a + i * a_row, a_row, a_column, b, from ? from + i * add_row : from, add_row,
                    to + i * c_row, c_row);
    for (; i < rows; i++)
      block<T, 1>(here, depth, a + i * a_row, a_row, a_column, b, from ? from + i * add_row : from, add_row,
                  to + i * c_row, c_row);
  }
}

}  // namespace twofold::TWOFOLD_ISA

// Products of matrices with few rows on one core, and what they stand on.
//
// With ten rows the time goes into reading and writing the large matrix, so each product keeps a tile of its result in
// registers and runs along that matrix once. Sums run in one order, so equal inputs give equal bytes.

#include <algorithm>
#include <cstdint>

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 5, WIDE = 4;  // a vector's numbers; a tile's rows and vectors: its sums in registers
#elif defined(__AVX__)
constexpr int LANES = 8, ROWS = 6, WIDE = 2;
#else
constexpr int LANES = 4, ROWS = 5, WIDE = 4;
#endif
constexpr int64_t NEAR = 1 << 17;  // floats that stay near the core

#if defined(__AVX__) && defined(__GNUC__)
#define HELD(vector) asm("" : "+v"(vector))  // read once: GCC would else read it again for each product
#else
#define HELD(vector)
#endif

typedef float Vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

// By value: what a reference to a vector names, Clang takes to lie at a multiple of its size.
Vec at(const float* p) { return *reinterpret_cast<const Vec*>(p); }
void put(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }

template <int N>
float total(const float* p) {
    if constexpr (N == 1) return *p;
    else {
        typedef float Half __attribute__((vector_size(2 * N), aligned(4), may_alias));
        Half sum = *reinterpret_cast<const Half*>(p) + *reinterpret_cast<const Half*>(p + N / 2);
        return total<N / 2>(reinterpret_cast<const float*>(&sum));
    }
}

// z[i, j] = b[j] + Σₖ x[i, k] w[j, k] for I rows of x and J of w; width is a whole number of vectors.
template <int I, int J>
void dots(const float* x, const float* w, const float* b, float* z, int64_t width, int64_t next) {
    Vec sums[I][J] = {};
    for (int64_t k = 0; k < width; k += LANES) {
        Vec ws[J];
        for (int j = 0; j < J; j++) ws[j] = at(w + j * width + k);
        for (int i = 0; i < I; i++) {
            Vec one = at(x + i * width + k);
            HELD(one);
            for (int j = 0; j < J; j++) sums[i][j] += one * ws[j];
        }
    }
    for (int i = 0; i < I; i++)
        for (int j = 0; j < J; j++) z[i * next + j] = b[j] + total<LANES>(reinterpret_cast<float*>(&sums[i][j]));
}

// Σₚ a[r·row + p·step] b[p, ·] for R rows r and V vectors; `then` gets each vector of the sum.
template <int R, int V, class Then>
void outer(const float* a, int64_t row, int64_t step, const float* b, int64_t width, int64_t n, Then then) {
    Vec sums[R][V] = {};
    for (int64_t p = 0; p < n; p++, a += step, b += width) {
        Vec bs[V];
        for (int v = 0; v < V; v++) bs[v] = at(b + v * LANES);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) sums[r][v] += a[r * row] * bs[v];
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) then(r, v * LANES, sums[r][v]);
}

// Calls then<N> with the largest N that is no more than n; n is positive.
template <int MOST, class Then>
void at_most(int64_t n, Then then) {
    if constexpr (MOST > 1)
        if (n < MOST) return at_most<MOST - 1>(n, then);
    then.template operator()<MOST>();
}

// Calls tile<rows, columns>(row, column) until the whole is covered; columns in units of `unit`.
template <int R, int C, class Tile>
void tiled(int64_t rows, int64_t columns, int64_t unit, Tile tile) {
    for (int64_t r = 0; r < rows; r += R)
        at_most<R>(rows - r, [&]<int I>() {
            int64_t c = 0;
            for (; c + C * unit <= columns; c += C * unit) tile.template operator()<I, C>(r, c);
            for (; c < columns; c += unit) tile.template operator()<I, 1>(r, c);
        });
}

// z[i, ·] = b + W x[i, ·]: x has `rows` rows, W `columns`, each of `width` numbers; z's begin `next` numbers apart.
void dotted(const float* x, const float* w, const float* b, float* z, int64_t rows, int64_t columns, int64_t width,
            int64_t next) {
    int64_t many = std::max<int64_t>(NEAR / 2 / width / WIDE, 1) * WIDE;
    for (int64_t begin = 0; begin < columns; begin += many)
        tiled<ROWS, WIDE>(rows, std::min(many, columns - begin), 1, [=]<int I, int J>(int64_t i, int64_t j) {
            j += begin;
            dots<I, J>(x + i * width, w + j * width, b + j, z + i * next + j, width, next);
        });
}

// Σₚ a[r·row + p·step] b[p, c] for all rows r and columns c, n terms; `then(r, c, sum)` gets each vector.
template <class Then>
void summed(const float* a, int64_t row, int64_t step, const float* b, int64_t width, int64_t n, int64_t rows,
            Then then) {
    int64_t many = std::max<int64_t>(NEAR / n / (WIDE * LANES), 1) * WIDE * LANES;
    for (int64_t begin = 0; begin < width; begin += many)
        tiled<ROWS, WIDE>(rows, std::min(many, width - begin), LANES, [=]<int R, int V>(int64_t j, int64_t k) {
            k += begin;
            outer<R, V>(a + j * row, row, step, b + k, width, n,
                        [=](int r, int c, Vec sum) { then(j + r, k + c, sum); });
        });
}

}  // namespace

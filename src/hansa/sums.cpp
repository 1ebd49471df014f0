// One vector more in a running sum of reals; what the parts are is said in sums.py, which does the same in NumPy.
//
// Compiled without leave to reorder sums (no -ffast-math), so (v + M) − M stays the cut that it is.

#include <cstdint>

extern "C" void add(const double* __restrict v, double* __restrict coarse, double* __restrict fine, int64_t n,
                    double to_coarse, double to_fine) {
    for (int64_t i = 0; i < n; i++) {
        double h = (v[i] + to_coarse) - to_coarse;
        coarse[i] += h;
        fine[i] += ((v[i] - h) + to_fine) - to_fine;
    }
}

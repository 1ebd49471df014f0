// One vector more in a running sum of reals; what the parts are is said in sums.py, which does the same in NumPy.
//
// (v + M) − M is the cut only where a compiler takes it as it is written.

#include <cstdint>

extern "C" void add(const double* __restrict v, double* __restrict coarse, double* __restrict fine, int64_t n,
                    double to_coarse, double to_fine) {
    for (int64_t i = 0; i < n; i++) {
        double h = (v[i] + to_coarse) - to_coarse;
        coarse[i] += h;
        fine[i] += ((v[i] - h) + to_fine) - to_fine;
    }
}

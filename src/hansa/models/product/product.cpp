// Products with few rows, for programs that torch compiles: `aoti_torch_cpu_product` is hansa::product in their code.

#include "products.hpp"

#include <vector>

extern "C" {  // of torch's stable C interface; its header would name much else
typedef struct AtenTensorOpaque* AtenTensorHandle;
int32_t aoti_torch_get_dim(AtenTensorHandle, int64_t*);
int32_t aoti_torch_get_data_ptr(AtenTensorHandle, void**);
int32_t aoti_torch_get_sizes(AtenTensorHandle, int64_t**);
int32_t aoti_torch_get_strides(AtenTensorHandle, int64_t**);
int32_t aoti_torch_dtype_float32();
int32_t aoti_torch_device_type_cpu();
int32_t aoti_torch_empty_strided(int64_t, const int64_t*, const int64_t*, int32_t, int32_t, int32_t, AtenTensorHandle*);
}

namespace {

struct Matrix {
    float* at;
    int64_t rows, columns, down, right;  // the last two: from one number to the next, below it and beside it
};

bool opened(AtenTensorHandle tensor, Matrix& m) {  // a vector is a row that is repeated
    int64_t dim, *sizes, *strides;
    void* data;
    if (aoti_torch_get_dim(tensor, &dim) || aoti_torch_get_data_ptr(tensor, &data)) return false;
    if (aoti_torch_get_sizes(tensor, &sizes) || aoti_torch_get_strides(tensor, &strides)) return false;
    m = {static_cast<float*>(data), dim > 1 ? sizes[0] : 1, sizes[dim - 1], dim > 1 ? strides[0] : 0, strides[dim - 1]};
    return true;
}

}  // namespace

// first + a b; fails where the layouts are not those that `fits` of torch.py lets in.
extern "C" int32_t aoti_torch_cpu_product(AtenTensorHandle* first, AtenTensorHandle a, AtenTensorHandle b,
                                          AtenTensorHandle* out) {
    Matrix f = {}, x, w, z;
    if ((first && !opened(*first, f)) || !opened(a, x) || !opened(b, w)) return 1;
    int64_t rows = x.rows, n = x.columns, width = w.columns, sizes[] = {rows, width}, strides[] = {width, 1};
    bool along = w.right == 1 && w.down == width && width % LANES == 0 && (!first || f.right == 1);
    bool dot = w.down == 1 && w.right == n && n % LANES == 0 && x.right == 1 && x.down == n && !f.down;
    if (!along && !dot) return 1;
    int32_t type = aoti_torch_dtype_float32(), cpu = aoti_torch_device_type_cpu();
    if (aoti_torch_empty_strided(2, sizes, strides, type, cpu, 0, out) || !opened(*out, z)) return 1;
    if (dot) {
        std::vector<float> none(first ? 0 : width);
        dotted(x.at, w.at, first ? f.at : none.data(), z.at, rows, width, n, width);
        return 0;
    }
    auto run = [&](auto then) { summed(x.at, x.down, x.right, w.at, width, n, rows, then); };
    if (first) run([=](int64_t r, int64_t c, Vec sum) { put(z.at + r * width + c, at(f.at + r * f.down + c) + sum); });
    else run([=](int64_t r, int64_t c, Vec sum) { put(z.at + r * width + c, sum); });
    return 0;
}

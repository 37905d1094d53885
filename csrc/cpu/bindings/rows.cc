// csrc/cpu/rows for Python: matrices come as (address, dtype, rows, columns, stride), so that torch is not needed here.
// megatron_codex/ops makes these tuples from tensors and keeps the tensors alive during a call.
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>
#include <tuple>

#include "../rows/rows.h"

namespace py = pybind11;

codex::Instructions instructions_of(const std::string& name);  // module.cc

namespace {

using codex::Element;
using codex::Matrix;
using codex::Workers;
using MatrixTuple = std::tuple<uintptr_t, std::string, int64_t, int64_t, int64_t>;

Matrix matrix_of(const MatrixTuple& given) {
  const auto& [address, dtype, num_rows, num_columns, stride] = given;
  if (dtype != "float32" && dtype != "bfloat16") throw std::invalid_argument("dtype: must be float32 or bfloat16");
  if (num_rows < 0 || num_columns < 0 || stride < num_columns) {
    throw std::invalid_argument("matrix: rows must lie one after the other");
  }
  const Element element = dtype == "float32" ? Element::kFloat32 : Element::kBfloat16;
  return {reinterpret_cast<void*>(address), element, num_rows, num_columns, stride};
}

void require_alike(const Matrix& one, const Matrix& other) {
  if (one.element != other.element || one.num_rows != other.num_rows || one.num_columns != other.num_columns) {
    throw std::invalid_argument("matrices: must have one dtype and shape");
  }
}

Workers workers_of(const std::string& instructions, int num_threads) {
  if (num_threads < 1) throw std::invalid_argument("num_threads: must be at least 1");
  return {instructions_of(instructions), num_threads};
}

void require_queries(int64_t num_queries, int64_t first_key) {
  if (num_queries < 1 || first_key < 0) throw std::invalid_argument("num_queries: must be 1 or more, first_key 0 or more");
}

template <class Type>
Type* pointer(uintptr_t address) {
  return reinterpret_cast<Type*>(address);
}

void row_statistics(const MatrixTuple& logits, uintptr_t largest, uintptr_t sums, const std::string& instructions,
                    int num_threads) {
  const Matrix matrix = matrix_of(logits);
  const Workers workers = workers_of(instructions, num_threads);
  py::gil_scoped_release release;
  codex::row_statistics(matrix, pointer<float>(largest), pointer<float>(sums), workers);
}

void block_statistics(const MatrixTuple& logits, int64_t block_size, float scale, uintptr_t largest, uintptr_t sums,
                      uintptr_t tempered, const std::string& instructions, int num_threads) {
  const Matrix matrix = matrix_of(logits);
  if (block_size < 1) throw std::invalid_argument("block_size: must be at least 1");
  const Workers workers = workers_of(instructions, num_threads);
  py::gil_scoped_release release;
  codex::block_statistics(matrix, block_size, scale, pointer<float>(largest), pointer<float>(sums),
                          pointer<float>(tempered), workers);
}

void require_padding_in_rows(const Matrix& matrix, int64_t num_padded) {
  if (num_padded < matrix.num_columns || num_padded > matrix.stride) {
    throw std::invalid_argument("num_padded: must be between columns and stride");
  }
}

void cross_entropy_gradient(const MatrixTuple& logits, int64_t num_padded, uintptr_t labels, uintptr_t log_sums,
                            uintptr_t gradients, const std::string& instructions, int num_threads) {
  const Matrix matrix = matrix_of(logits);
  require_padding_in_rows(matrix, num_padded);
  const Workers workers = workers_of(instructions, num_threads);
  py::gil_scoped_release release;
  codex::cross_entropy_gradient(matrix, num_padded, pointer<const int64_t>(labels), pointer<const float>(log_sums),
                                pointer<const float>(gradients), workers);
}

void cross_entropy(const MatrixTuple& logits, int64_t num_padded, uintptr_t labels, uintptr_t gradients,
                   uintptr_t largest, uintptr_t sums, uintptr_t at_labels, const std::string& instructions,
                   int num_threads) {
  const Matrix matrix = matrix_of(logits);
  require_padding_in_rows(matrix, num_padded);
  const Workers workers = workers_of(instructions, num_threads);
  py::gil_scoped_release release;
  codex::cross_entropy(matrix, num_padded, pointer<const int64_t>(labels), pointer<const float>(gradients),
                       pointer<float>(largest), pointer<float>(sums), pointer<float>(at_labels), workers);
}

void gelu(const MatrixTuple& in, const MatrixTuple& out, const std::string& instructions, int num_threads) {
  const Matrix from = matrix_of(in), to = matrix_of(out);
  require_alike(from, to);
  const Workers workers = workers_of(instructions, num_threads);
  py::gil_scoped_release release;
  codex::gelu(from, to, workers);
}

void gelu_gradient(const MatrixTuple& in, const MatrixTuple& out_gradient, const MatrixTuple& in_gradient,
                   const std::string& instructions, int num_threads) {
  const Matrix from = matrix_of(in), given = matrix_of(out_gradient), to = matrix_of(in_gradient);
  require_alike(from, given);
  require_alike(from, to);
  const Workers workers = workers_of(instructions, num_threads);
  py::gil_scoped_release release;
  codex::gelu_gradient(from, given, to, workers);
}

void causal_softmax(const MatrixTuple& scores, int64_t num_queries, int64_t first_key, float scale,
                    const std::string& instructions, int num_threads) {
  const Matrix matrix = matrix_of(scores);
  require_queries(num_queries, first_key);
  const Workers workers = workers_of(instructions, num_threads);
  py::gil_scoped_release release;
  codex::causal_softmax(matrix, num_queries, first_key, scale, workers);
}

void causal_softmax_gradient(const MatrixTuple& probabilities, const MatrixTuple& gradient, int64_t num_queries,
                             int64_t first_key, float scale, const std::string& instructions, int num_threads) {
  const Matrix given = matrix_of(probabilities), matrix = matrix_of(gradient);
  require_alike(given, matrix);
  require_queries(num_queries, first_key);
  const Workers workers = workers_of(instructions, num_threads);
  py::gil_scoped_release release;
  codex::causal_softmax_gradient(given, matrix, num_queries, first_key, scale, workers);
}

}  // namespace

void define_rows(py::module_& module) {
  const auto instructions = py::arg("instructions");
  const auto num_threads = py::arg("num_threads");
  module.def("row_statistics", &row_statistics, "Largest element and sum of exponentials of each row (rows/rows.h).",
             py::arg("logits"), py::arg("largest"), py::arg("sums"), py::kw_only(), instructions, num_threads);
  module.def("block_statistics", &block_statistics, "The same of each block of columns, and with a scale (rows/rows.h).",
             py::arg("logits"), py::arg("block_size"), py::arg("scale"), py::arg("largest"), py::arg("sums"),
             py::arg("tempered"), py::kw_only(), instructions, num_threads);
  module.def("cross_entropy_gradient", &cross_entropy_gradient, "Logits to their gradients, in place.",
             py::arg("logits"), py::arg("num_padded"), py::arg("labels"), py::arg("log_sums"), py::arg("gradients"),
             py::kw_only(), instructions, num_threads);
  module.def("cross_entropy", &cross_entropy, "Statistics, the label's logit and the gradient, in place, at once.",
             py::arg("logits"), py::arg("num_padded"), py::arg("labels"), py::arg("gradients"), py::arg("largest"),
             py::arg("sums"), py::arg("at_labels"), py::kw_only(), instructions, num_threads);
  module.def("gelu", &gelu, "GELU with tanh.", py::arg("in_"), py::arg("out"), py::kw_only(), instructions, num_threads);
  module.def("gelu_gradient", &gelu_gradient, "Its gradient.", py::arg("in_"), py::arg("out_gradient"),
             py::arg("in_gradient"), py::kw_only(), instructions, num_threads);
  module.def("causal_softmax", &causal_softmax, "Scores to probabilities, in place.", py::arg("scores"),
             py::arg("num_queries"), py::arg("first_key"), py::arg("scale"), py::kw_only(), instructions, num_threads);
  module.def("causal_softmax_gradient", &causal_softmax_gradient, "Its gradient, in place.", py::arg("probabilities"),
             py::arg("gradient"), py::arg("num_queries"), py::arg("first_key"), py::arg("scale"), py::kw_only(),
             instructions, num_threads);
}

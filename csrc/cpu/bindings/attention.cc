// csrc/cpu/attention for Python: tensors come as addresses, sizes and strides, so that torch is not needed here.
// megatron_codex/ops/shared_prefix.py makes them from tensors and keeps the tensors alive during a call.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <tuple>

#include "../attention/attention.h"
#include "../attention/kernels.h"

namespace py = pybind11;

codex::Instructions instructions_of(const std::string& name);  // module.cc

namespace {

using codex::SharedPrefixAttention;
using Sizes = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>;
using Queries = std::tuple<uintptr_t, int64_t, int64_t>;
using Prompts = std::tuple<uintptr_t, uintptr_t, uintptr_t, uintptr_t>;
using Own = std::tuple<uintptr_t, uintptr_t, uintptr_t, int64_t, int64_t, int64_t>;

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

template <class Type>
bool within(const Type* numbers, int64_t count, int64_t least, int64_t most) {
  return std::all_of(numbers, numbers + count, [=](Type number) { return number >= least && number <= most; });
}

SharedPrefixAttention attention_of(const std::string& dtype, const Sizes& sizes, const Queries& queries,
                                   const Prompts& prompts, const Own& own) {
  require(dtype == "float32" || dtype == "bfloat16", "dtype: must be float32 or bfloat16");
  SharedPrefixAttention given{};
  int64_t num_prompts, own_room;
  given.element = dtype == "float32" ? codex::Element::kFloat32 : codex::Element::kBfloat16;
  std::tie(given.num_rows, given.num_heads, given.head_size, num_prompts, given.room, own_room) = sizes;
  require(std::min({given.num_rows, given.num_heads, num_prompts, given.room, own_room}) >= 0 && given.head_size > 0,
          "sizes: must not be negative");
  require(given.room % codex::kPromptMultiple == 0, "sizes: a prompt's room must be a multiple of 32");
  given.queries = reinterpret_cast<const void*>(std::get<0>(queries));
  given.query_row_stride = std::get<1>(queries);
  given.query_head_stride = std::get<2>(queries);
  given.prompt_keys = reinterpret_cast<const void*>(std::get<0>(prompts));
  given.prompt_values = reinterpret_cast<const void*>(std::get<1>(prompts));
  given.prompt_lengths = reinterpret_cast<const int32_t*>(std::get<2>(prompts));
  given.prompt_of_row = reinterpret_cast<const int64_t*>(std::get<3>(prompts));
  given.keys = reinterpret_cast<const void*>(std::get<0>(own));
  given.values = reinterpret_cast<const void*>(std::get<1>(own));
  given.lengths = reinterpret_cast<const int32_t*>(std::get<2>(own));
  std::tie(std::ignore, std::ignore, std::ignore, given.row_stride, given.position_stride, given.head_stride) = own;
  require(within(given.prompt_lengths, num_prompts, 0, given.room), "prompt_lengths: must be within the prompts' room");
  require(within(given.prompt_of_row, given.num_rows, 0, num_prompts - 1), "prompt_of_row: must name prompts");
  require(within(given.lengths, given.num_rows, 0, own_room), "lengths: must be within the rows' room");
  return given;
}

void shared_prefix_attention(const std::string& dtype, const Sizes& sizes, const Queries& queries,
                             const Prompts& prompts, const Own& own, uintptr_t attended, int64_t window, float scale,
                             const std::string& instructions, int num_threads) {
  SharedPrefixAttention given = attention_of(dtype, sizes, queries, prompts, own);
  require(window >= 0, "window: must be 0 or more");
  require(num_threads >= 1, "num_threads: must be at least 1");
  given.attended = reinterpret_cast<void*>(attended);
  given.window = window;
  given.scale = scale;
  const codex::Workers workers{instructions_of(instructions), num_threads};
  py::gil_scoped_release release;
  codex::shared_prefix_attention(given, workers);
}

}  // namespace

void define_attention(py::module_& module) {
  module.def("shared_prefix_attention", &shared_prefix_attention,
             "Attention over a shared prompt and each row's own positions (attention/attention.h).", py::arg("dtype"),
             py::arg("sizes"), py::arg("queries"), py::arg("prompts"), py::arg("own"), py::arg("attended"),
             py::kw_only(), py::arg("window"), py::arg("scale"), py::arg("instructions"), py::arg("num_threads"));
}

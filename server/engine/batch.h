// One call of the model for several rows, and what a failure of it means for each row. Used by the
// engine's thread.
#pragma once

#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace llavamini {

// Only these codes leave a model's call: RESOURCE_EXHAUSTED, ABORTED (the device is lost) and
// INTERNAL.
inline absl::Status ModelFailure(const absl::Status& status) {
  if (absl::IsResourceExhausted(status) || absl::IsAborted(status)) return status;
  return absl::InternalError(status.message());
}

// call(rows) → StatusOr<vector<Result>>, one result per row; for at least one row. When memory runs
// out for several rows together, each is tried alone. Returns each row's result or failure, in
// order; after ABORTED no row is tried any more.
template <typename Result, typename Row, typename Call>
std::vector<absl::StatusOr<Result>> RunBatch(absl::Span<const Row> rows, const Call& call) {
  absl::StatusOr<std::vector<Result>> together = call(rows);
  if (together.ok() && together->size() != rows.size()) {
    together = absl::InternalError("the model returned another number of results than rows");
  }
  if (together.ok()) {
    return {std::make_move_iterator(together->begin()), std::make_move_iterator(together->end())};
  }
  const absl::Status failure = ModelFailure(together.status());
  if (!absl::IsResourceExhausted(failure) || rows.size() == 1) {
    return std::vector<absl::StatusOr<Result>>(rows.size(), failure);
  }
  std::vector<absl::StatusOr<Result>> results;
  for (size_t i = 0; i < rows.size(); ++i) {
    results.push_back(std::move(RunBatch<Result>(rows.subspan(i, 1), call).front()));
    if (absl::IsAborted(results.back().status())) {
      results.resize(rows.size(), results.back().status());
      break;
    }
  }
  return results;
}

}  // namespace llavamini

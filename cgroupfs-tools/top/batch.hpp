// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl top -b: samples as text, CSV or JSON; and sparectl record.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "paths.hpp"
#include "top/columns.hpp"
#include "util/result.hpp"

namespace sparectl::top {

enum class Format { text, csv, json };

struct BatchOptions {
  double delay_s = 1;
  unsigned samples = 0;  // 0: until it is ended
  Format format = Format::text;
  std::string view = "vm", sort, filter;
  std::vector<std::string> fields;  // columns; none: the view's, in JSON all of each subject
  std::string replay;               // a recording in place of this host
};
spare::Result<void> run_batch(const spare::Roots& roots, const BatchOptions& options);

struct RecordOptions {
  std::string file;
  double delay_s = 1;
  unsigned samples = 0;
  std::string size = "64M";
};
spare::Result<void> run_record(const spare::Roots& roots, const RecordOptions& options);

// One line. `columns` of the view's rows alone, or none: all of VMs, pools and CPUs. The view's rows by `sort`; null: as they are in samples.
nlohmann::ordered_json json_of(const Interval& last, const Interval& longer, const View& view, const std::vector<const Column*>& columns, std::string_view filter, const Column* sort);
std::string csv_titles(const std::vector<const Column*>& columns);
// A line for each row.
std::string csv_of(const Interval& last, const std::vector<Row>& rows, const std::vector<const Column*>& columns);

// Columns by their ids; an error names what there is not.
spare::Result<std::vector<const Column*>> columns_named(const View& view, const std::vector<std::string>& ids);
// "64M" and the like: bytes. Nothing: it is no size.
std::optional<std::uint64_t> parse_size(std::string_view text);

}  // namespace sparectl::top

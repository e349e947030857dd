// SPDX-License-Identifier: GPL-2.0-only
//
// The one table of what can be shown: top's views, batch mode, CSV, JSON, --columns and sparectl-top(1) have their columns from here.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "top/interval.hpp"
#include "top/pool_row.hpp"
#include "top/value.hpp"

namespace sparectl::top {

// What a row is of.
enum class Subject { vm, pool, cpu };

// A row: what it is of in the last interval, and over the long one.
struct Row {
  VmPair vm, vm_long;
  PoolPair pool;
  CpuPair cpu;
  const Interval* interval = nullptr;

  [[nodiscard]] std::string key(Subject subject) const;  // what stays the same from sample to sample
};

struct Column {
  Subject subject;
  const char* id;     // in --fields, CSV and JSON; with its unit
  const char* title;  // above it
  unsigned width;     // 0: what is left
  Unit unit;
  const char* help;
  Value (*value)(const Row& row);
  double warn = 0, bad = 0;  // from there on it is coloured; 0: never
  bool metered = false;      // it is left out while nothing is metered
};
std::span<const Column> all_columns();
const Column* find_column(std::string_view id, Subject subject);

// Columns that are shown together.
struct View {
  const char* id;
  char key;
  const char* title;
  Subject subject;
  std::vector<std::string_view> columns;
  std::string_view sorted_by;
  bool providers = false;  // rows are of these, too
};
const std::vector<View>& all_views();
const View* find_view(std::string_view id);

// All rows of a view's subject.
std::vector<Row> rows_of(const View& view, const Interval& last, const Interval& longer);

// Stable; what is not known comes last. By number, or by text.
void sort_rows(std::vector<Row>& rows, const Column& column, bool ascending);
// Only those whose name or path contains the text, whatever the case.
void filter_rows(std::vector<Row>& rows, Subject subject, std::string_view text);

}  // namespace sparectl::top

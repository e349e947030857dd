// SPDX-License-Identifier: GPL-2.0-only
#include "top/batch.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <functional>
#include <utility>

#include "flat_keyed.hpp"
#include "top/reader.hpp"
#include "top/recording.hpp"
#include "top/screen.hpp"
#include "util/files.hpp"
#include "util/signals.hpp"

namespace sparectl::top {
namespace {

using json = nlohmann::ordered_json;
using spare::Error;
using spare::Result;
using Clock = std::chrono::steady_clock;

json json_of_value(const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) {
    // Six digits are more than any of them is worth.
    return std::isinf(*number) ? json("inf") : std::isnan(*number) ? json() : *number == std::floor(*number) ? json(*number) : json(std::round(*number * 1e6) / 1e6);
  }
  const auto* text = std::get_if<std::string>(&value);
  return text == nullptr ? json() : json(*text);
}

json json_of_row(const Row& row, const std::vector<const Column*>& columns) {
  json object = json::object();
  for (const Column* column : columns) {
    object[column->id] = json_of_value(column->value(row));
  }
  return object;
}

std::string csv_cell(const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) {
    return std::isnan(*number) ? "" : fmt::format("{:.10g}", *number);
  }
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr || text->find_first_of(",\"\n\r") == std::string::npos) {
    return text == nullptr ? "" : *text;
  }
  std::string quoted = "\"";
  for (const char c : *text) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + "\"";
}

void arrange(std::vector<Row>& rows, const View& view, std::string_view filter, const Column* sort) {
  filter_rows(rows, view.subject, filter);
  if (sort != nullptr) {
    sort_rows(rows, *sort, sort->unit == Unit::text || view.subject == Subject::cpu);
  }
}

std::vector<const Column*> all_of(Subject subject) {
  std::vector<const Column*> found;
  for (const Column& column : all_columns()) {
    if (column.subject == subject) {
      found.push_back(&column);
    }
  }
  return found;
}

spare::Fd open_ends() { return spare::open_signals({SIGTERM, SIGINT, SIGHUP}); }

// Calls take(sample) now and then every `delay_s`, until it returns false or somebody ends this.
Result<void> sample_host(const spare::Roots& roots, const spare::Fd& signals, double delay_s, const std::function<Result<bool>(SamplePtr)>& take) {
  auto reader = Reader::open(roots);
  if (!reader) {
    return reader.error();
  }
  const auto delay = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(delay_s));
  auto due = Clock::now();
  for (;;) {
    const auto more = take(std::make_shared<const Sample>(reader->read()));
    if (!more || !*more) {
      return more ? Result<void>() : more.error();
    }
    due = std::max(due + delay, Clock::now());
    pollfd fd{signals.get(), POLLIN, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now()).count();
    if (::poll(&fd, 1, static_cast<int>(std::max<long>(left, 0))) > 0) {
      return {};
    }
  }
}

Result<void> sample_recording(const std::string& file, const std::function<Result<bool>(SamplePtr)>& take) {
  auto recording = Recording::open(file);
  if (!recording) {
    return recording.error();
  }
  for (std::size_t i = 0; i < recording->size(); i++) {
    const auto more = take(recording->at(i));
    if (!more || !*more) {
      return more ? Result<void>() : more.error();
    }
  }
  return {};
}

std::string text_of_table(const Interval& last, const std::vector<Row>& rows, const View& view, std::vector<const Column*> columns) {
  const Glyphs glyphs = Glyphs::of_locale();
  std::string text;
  for (const std::string& line : headline(last)) {
    text += line + "\n";
  }
  for (const Line& line : draw_table(view, columns, rows, Shares::percent, glyphs)) {
    text += line.text() + "\n";
  }
  return text + "\n";
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t unit = 1;
  if (!text.empty()) {
    const auto at = std::string_view("kMG").find(text.back() == 'K' ? 'k' : text.back());
    if (at != std::string_view::npos) {
      unit = std::uint64_t{1} << (10 * (at + 1));
      text.remove_suffix(1);
    }
  }
  const auto n = spare::as_integer(text);
  return n && *n > 0 && *n < (std::int64_t{1} << 30) ? std::optional(static_cast<std::uint64_t>(*n) * unit) : std::nullopt;
}

Result<std::vector<const Column*>> columns_named(const View& view, const std::vector<std::string>& ids) {
  std::vector<const Column*> columns;
  for (const std::string& id : ids) {
    columns.push_back(find_column(id, view.subject));
    if (columns.back() == nullptr) {
      return Error{fmt::format("view {} has no column '{}' (sparectl top --columns lists them)", view.id, id)};
    }
  }
  return columns;
}

json json_of(const Interval& last, const Interval& longer, const View& view, const std::vector<const Column*>& columns, std::string_view filter, const Column* sort) {
  const Sample& now = last.now();
  json line = {{"time_ns", now.real_ns}, {"monotonic_ns", now.monotonic_ns}, {"interval_s", last.seconds()}, {"state", now.state},
               {"class_runs", now.class_runs}, {"metered", now.metered}, {"missing", now.missing}};
  for (const auto& [name, id] : {std::pair{"vms", "vm"}, {"pools", "pool"}, {"cpus", "cpu"}}) {
    const View& of_all = *find_view(id);
    if (!columns.empty() && of_all.subject != view.subject) {
      continue;
    }
    auto rows = rows_of(of_all, last, longer);
    if (of_all.subject == view.subject) {
      arrange(rows, view, filter, sort);
    }
    json list = json::array();
    for (const Row& row : rows) {
      list.push_back(json_of_row(row, columns.empty() ? all_of(of_all.subject) : columns));
    }
    line[name] = std::move(list);
  }
  return line;
}

std::string csv_titles(const std::vector<const Column*>& columns) {
  std::string line = "time_ns";
  for (const Column* column : columns) {
    line += fmt::format(",{}", column->id);
  }
  return line + "\n";
}

std::string csv_of(const Interval& last, const std::vector<Row>& rows, const std::vector<const Column*>& columns) {
  std::string text;
  for (const Row& row : rows) {
    text += std::to_string(last.now().real_ns);
    for (const Column* column : columns) {
      text += "," + csv_cell(column->value(row));
    }
    text += "\n";
  }
  return text;
}

Result<void> run_batch(const spare::Roots& roots, const BatchOptions& options) {
  const View* view = find_view(options.view);
  if (view == nullptr) {
    return Error{"there is no view '" + options.view + "' (sparectl top --columns lists them)"};
  }
  const auto named = columns_named(*view, options.fields);
  const Column* sort = find_column(options.sort.empty() ? view->sorted_by : options.sort, view->subject);
  if (!named || sort == nullptr) {
    return named ? Error{fmt::format("view {} has no column '{}' to sort by (sparectl top --columns lists them)", view->id, options.sort)} : named.error();
  }
  const spare::Fd signals = open_ends();
  History history;
  unsigned printed = 0;
  const auto take = [&](SamplePtr sample) -> Result<bool> {
    history.add(std::move(sample));
    const Interval last = history.short_interval(), longer = history.long_interval();
    if (!last.known()) {  // the first has no rates
      return true;
    }
    auto columns = *named;
    for (const std::string_view id : columns.empty() ? view->columns : std::vector<std::string_view>()) {
      const Column* column = find_column(id, view->subject);
      // (A CSV keeps its columns, whatever comes and goes.)
      if (options.format == Format::csv || last.now().metered || !column->metered) {
        columns.push_back(column);
      }
    }
    std::string text;
    if (options.format == Format::json) {
      text = json_of(last, longer, *view, *named, options.filter, options.sort.empty() ? nullptr : sort).dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    } else {
      auto rows = rows_of(*view, last, longer);
      arrange(rows, *view, options.filter, sort);
      text = options.format == Format::text ? text_of_table(last, rows, *view, columns) : (printed == 0 ? csv_titles(columns) : "") + csv_of(last, rows, columns);
    }
    const auto written = spare::write_until_signal(STDOUT_FILENO, signals, text);
    if (!written || !*written) {
      return written ? written : written.error().while_doing("standard output");
    }
    printed++;
    return options.samples == 0 || printed < options.samples;
  };
  return options.replay.empty() ? sample_host(roots, signals, options.delay_s, take) : sample_recording(options.replay, take);
}

Result<void> run_record(const spare::Roots& roots, const RecordOptions& options) {
  const auto size = parse_size(options.size);
  const auto shape = size ? RecordingShape::of_size(*size) : std::nullopt;
  if (!shape) {
    return Error{fmt::format("--size {}: at least 1M, as 64M or 1G", options.size)};
  }
  auto recorder = Recorder::open(options.file, *shape);
  if (!recorder) {
    return recorder.error();
  }
  const spare::Fd signals = open_ends();
  unsigned taken = 0;
  bool said = false;
  return sample_host(roots, signals, options.delay_s, [&](const SamplePtr& sample) -> Result<bool> {
    if (auto added = recorder->add(*sample); !added) {
      if (added.error().code != EMSGSIZE) {
        return added.error();
      }
      if (!std::exchange(said, true)) {  // tenants say how many VMs there are, and how long their cgroups' names
        fmt::print(stderr, "sparectl: {}\n", spare::printable(added.error().text));
      }
    }
    return options.samples == 0 || ++taken < options.samples;
  });
}

}  // namespace sparectl::top

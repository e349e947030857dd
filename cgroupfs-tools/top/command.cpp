// SPDX-License-Identifier: GPL-2.0-only
#include "top/command.hpp"

#include <fmt/format.h>

#include <cstdlib>

#include "top/report.hpp"

namespace sparectl::top {
namespace {

using spare::Result;

void print_columns() {
  for (const View& view : all_views()) {
    fmt::print("view {} ({}), sorted by {}:", view.id, view.title, view.sorted_by);
    for (const std::string_view id : view.columns) {
      fmt::print(" {}", id);
    }
    fmt::print("\n");
  }
  Subject subject = Subject::cpu;
  for (const Column& column : all_columns()) {
    if (column.subject != subject) {
      subject = column.subject;
      fmt::print("\n{}\n", subject == Subject::vm ? "columns of VMs" : subject == Subject::pool ? "columns of pools" : "columns of CPUs");
    }
    fmt::print("  {:16} {:9} {:7} {}\n", column.id, column.title, text_of(column.unit), column.help);
  }
}

cli::Check delay() { return cli::Range(Ui::least_delay_s, Ui::most_delay_s); }

}  // namespace

TopCommand::TopCommand(cli::App& app, const spare::Roots& roots, std::function<Result<void>()>& action) {
  add_top(app, roots, action);

  cli::App* record = app.add_subcommand("record", "write samples into a file of bounded size, for top --replay and report");
  record->fallthrough(false);
  record->add_option("FILE", record_.file, "a new one, or a recording that is gone on with")->required();
  record->add_option("-d,--delay", record_.delay_s, "seconds between samples")->type_name("S")->check(delay())->capture_default_str();
  record->add_option("-n,--samples", record_.samples, "so many; 0: until it is ended")->type_name("N");
  record->add_option("--size", record_.size, "of a new file, at most; then the oldest samples go")->type_name("BYTES[k|M|G]")->capture_default_str();
  record->callback([this, &roots, &action] { action = [this, &roots] { return run_record(roots, record_); }; });

  cli::App* report = app.add_subcommand("report", "what a recording shows: a table, or a page of HTML");
  report->fallthrough(false);
  report->add_option("FILE", file_, "a recording")->required();
  report->add_option("--html", html_, "write a page with plots, which needs no other file")->type_name("FILE");
  report->callback([this, &action] { action = [this] { return run_report(file_, html_); }; });
}

void TopCommand::add_top(cli::App& app, const spare::Roots& roots, std::function<Result<void>()>& action) {
  cli::App* top = app.add_subcommand("top", "watch VMs: CPU, waiting, packets, spares, the bill");
  top->fallthrough(false);
  top->add_option("-d,--delay", live_.delay_s, "seconds between samples")->type_name("S")->check(delay())->capture_default_str();
  top->add_flag("-b,--batch", is_batch_, "write text, no screen");
  top->add_option("-n,--samples", batch_.samples, "of -b: so many; 0: until it is ended")->type_name("N");
  top->add_flag("--json", json_, "of -b: a line of JSON for each sample");
  top->add_flag("--csv", csv_, "of -b: a line for each row, with titles in the first");
  top->add_option("--view", live_.view, "vm, net, spare, latency, time, bill, pool, cpu, debt")->type_name("VIEW")->capture_default_str();
  top->add_option("--fields", batch_.fields, "of -b: columns in place of the view's")->type_name("COLUMN,...")->delimiter(',')->allow_extra_args(false);
  top->add_option("--sort", live_.sort, "column to sort by")->type_name("COLUMN");
  top->add_option("--filter", live_.filter, "only those whose name or cgroup contains this")->type_name("TEXT");
  top->add_option("--replay", live_.replay, "show a recording")->type_name("FILE");
  top->add_flag("--no-color", no_color_, "also by NO_COLOR in the environment");
  top->add_flag("--columns", columns_, "list views and columns, with their units and what they mean");
  top->callback([this, &roots, &action] { action = [this, &roots] { return run_top(roots); }; });
}

Result<void> TopCommand::run_top(const spare::Roots& roots) {
  if (columns_) {
    print_columns();
    return {};
  }
  if (json_ && csv_) {
    return spare::Error{"--json and --csv: one of them"};
  }
  if (!is_batch_ && (json_ || csv_ || !batch_.fields.empty() || batch_.samples != 0)) {
    return spare::Error{"--json, --csv, --fields and -n are for -b"};
  }
  if (!is_batch_) {
    const char* no_color = std::getenv("NO_COLOR");
    live_.color = !no_color_ && (no_color == nullptr || *no_color == '\0');
    return run_live(roots, live_);
  }
  batch_.delay_s = live_.delay_s;
  batch_.format = json_ ? Format::json : csv_ ? Format::csv : Format::text;
  batch_.view = live_.view;
  batch_.sort = live_.sort;
  batch_.filter = live_.filter;
  batch_.replay = live_.replay;
  return run_batch(roots, batch_);
}

}  // namespace sparectl::top

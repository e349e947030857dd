// SPDX-License-Identifier: GPL-2.0-only
#include "top/report.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>

#include "top/plot.hpp"
#include "top/screen.hpp"

namespace sparectl::top {
namespace {

constexpr std::size_t points_most = 300, points_least = 50, samples_most = 60000, vms_most = 8;
constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

constexpr const char* page_style = R"(
:root{--bg:#fcfcfb;--card:#fff;--ink:#1d2327;--soft:#66707a;--line:#e4e7ea;--grid:#eceff1;
--c0:#3f7fbf;--c1:#f2a33a;--c2:#0a8f6a;--c3:#d1495b;--c4:#8e5bb5;--c5:#5aa0c8;--c6:#b79a2e;--c7:#7a838c;--c8:#c0628f;--c9:#b9c0c6}
@media(prefers-color-scheme:dark){:root{--bg:#14181b;--card:#1b2024;--ink:#e8ecef;--soft:#9aa5ae;--line:#2b3238;--grid:#262d32;
--c0:#5f9fdc;--c1:#f5b45c;--c2:#37c99b;--c3:#f0717f;--c4:#b98bdc;--c5:#7cc0e6;--c6:#d8bd55;--c7:#9aa5ae;--c8:#e089b3;--c9:#59636b}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1040px;margin:0 auto;padding:40px 24px 80px}h1{font-size:30px;line-height:1.2;margin:0 0 8px}h2{font-size:20px;margin:44px 0 6px}
p{margin:6px 0 12px;max-width:78ch}.soft,.legend{color:var(--soft);font-size:14px}figure{margin:14px 0 0;background:var(--card);
border:1px solid var(--line);border-radius:12px;padding:12px 16px;overflow-x:auto}figcaption{font-weight:600;margin-bottom:6px}
svg{display:block;width:100%;min-width:640px;height:auto;font:13px system-ui,sans-serif}svg text{fill:var(--ink)}svg .s{fill:var(--soft)}
.grid{stroke:var(--grid);stroke-width:1}.l{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.a{fill:var(--c);stroke:var(--c);stroke-width:.5;fill-opacity:.85}.d{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:6px;background:var(--c)}
.legend span{white-space:nowrap;margin-right:14px}table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th{font-weight:600;color:var(--soft);text-align:right;padding:6px 8px;border-bottom:1.5px solid var(--line)}td{text-align:right;padding:6px 8px;
border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{text-align:left}.wrap{overflow-x:auto}
)";

// What happened between two points of the plots; before: none of the same boot.
struct Point {
  double seconds;
  Interval interval;
};

std::vector<Point> points_of(Recording& recording) {
  std::vector<Point> points;
  SamplePtr before = recording.at(0);
  // (All of them are in memory, each with all VMs.)
  const std::size_t most = std::clamp(samples_most / (recording.most_vms() + 1), points_least, points_most);
  const std::size_t stride = (recording.size() + most - 1) / most;
  const auto began = before->real_ns;
  for (std::size_t i = stride; i < recording.size(); i += stride) {
    SamplePtr now = recording.at(i);
    points.push_back({static_cast<double>(now->real_ns - began) / 1e9, Interval(before, now)});
    before = std::move(now);
  }
  // Who has set the clock has no plot that goes back.
  for (std::size_t i = 1; i < points.size(); i++) {
    points[i].seconds = std::max(points[i].seconds, points[i - 1].seconds);
  }
  return points;
}

double number_of(const Column& column, const Row& row) {
  const Value value = column.value(row);
  const auto* number = std::get_if<double>(&value);
  return number == nullptr ? unknown : *number;
}

Plot plot_of(const std::vector<Point>& points, std::string title, std::string unit) {
  Plot plot;
  plot.title = std::move(title);
  plot.unit = std::move(unit);
  for (const Point& point : points) {
    plot.seconds.push_back(point.seconds);
  }
  return plot;
}

// A column of each VM over time, of those with the most in all; the rest together where that makes sense.
Plot of_vms(const std::vector<Point>& points, const char* id, std::string title, std::string unit, bool rest) {
  const Column& column = *find_column(id, Subject::vm);
  Plot plot = plot_of(points, std::move(title), std::move(unit));
  std::map<std::string, Series> all;
  std::map<std::string, double> sums;
  for (std::size_t i = 0; i < points.size(); i++) {
    for (const Row& row : rows_of(all_views().front(), points[i].interval, points[i].interval)) {
      Series& series = all[row.vm.now->path];
      series.name = row.vm.now->name;
      series.values.resize(points.size(), unknown);
      series.values[i] = number_of(column, row);
      sums[row.vm.now->path] += std::isnan(series.values[i]) ? 0 : series.values[i];
    }
  }
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [path, sum] : sums) {
    if (sum > 0) {
      order.emplace_back(-sum, path);
    }
  }
  std::sort(order.begin(), order.end());
  Series others{"the others", std::vector<double>(points.size(), 0)};
  for (std::size_t k = 0; k < order.size(); k++) {
    Series& series = all[order[k].second];
    if (k < vms_most) {
      plot.series.push_back(std::move(series));
      continue;
    }
    for (std::size_t i = 0; i < points.size(); i++) {
      others.values[i] += std::isnan(series.values[i]) ? 0 : series.values[i];
    }
  }
  if (rest && order.size() > vms_most) {
    plot.series.push_back(std::move(others));
  }
  return plot;
}

// Columns over time, summed over all rows of their subject.
Plot of_sums(const std::vector<Point>& points, Subject subject, const std::vector<std::pair<const char*, const char*>>& ids, std::string title, std::string unit) {
  Plot plot = plot_of(points, std::move(title), std::move(unit));
  const View& view = *find_view(subject == Subject::vm ? "vm" : subject == Subject::pool ? "pool" : "cpu");
  for (const auto& [id, name] : ids) {
    Series series{name, {}};
    const Column& column = *find_column(id, subject);
    for (const Point& point : points) {
      double sum = unknown;
      for (const Row& row : rows_of(view, point.interval, point.interval)) {
        if (const double n = number_of(column, row); !std::isnan(n)) {
          sum = std::isnan(sum) ? n : sum + n;
        }
      }
      series.values.push_back(sum);
    }
    plot.series.push_back(std::move(series));
  }
  return plot;
}

// Buckets of all VMs together.
std::array<double, lat_buckets> latencies(const Interval& interval) {
  std::array<double, lat_buckets> in{};
  for (const VmPair& vm : interval.vms()) {
    for (std::size_t i = 0; i < lat_buckets; i++) {
      in[i] += vm.now->provider ? 0 : vm.had(lat(i)).value_or(0);
    }
  }
  return in;
}

double percentile_ms(const std::array<double, lat_buckets>& in, double part) {
  double all = 0, below = 0;
  for (const double n : in) {
    all += n;
  }
  for (std::size_t i = 0; all > 0 && i < lat_buckets; i++) {
    below += in[i];
    if (below >= part * all) {
      return static_cast<double>(lat_limit_ns(std::min(i, lat_buckets - 2))) / 1e6;
    }
  }
  return unknown;
}

Plot of_latency(const std::vector<Point>& points) {
  Plot plot = plot_of(points, "First service of packets that found their VM throttled: half, and 99 %, were served within", "ms, logarithmic");
  plot.logarithmic = true;
  plot.series = {{"half of them", {}}, {"99 %", {}}};
  for (const Point& point : points) {
    const auto in = latencies(point.interval);
    plot.series[0].values.push_back(percentile_ms(in, 0.5));
    plot.series[1].values.push_back(percentile_ms(in, 0.99));
  }
  return plot;
}

std::string latency_bars(const std::vector<Point>& points) {
  std::vector<double> all(lat_buckets, 0);
  std::vector<std::string> names;
  for (const Point& point : points) {
    const auto in = latencies(point.interval);
    for (std::size_t i = 0; i < lat_buckets; i++) {
      all[i] += in[i];
    }
  }
  for (std::size_t i = 0; i + 1 < lat_buckets; i++) {
    const double us = static_cast<double>(lat_limit_ns(i)) / 1e3;
    names.push_back(us < 1000 ? fmt::format("{:g} us", us) : us < 1e6 ? fmt::format("{:.0f} ms", us / 1e3) : "1 s");
  }
  names.emplace_back("more");
  return svg_of_bars("How many of them were served within", names, all);
}

// Over the longest part of the recording that has one clock.
Interval whole(Recording& recording) {
  const SamplePtr last = recording.at(recording.size() - 1);
  std::size_t first = 0;
  while (first + 1 < recording.size() && recording.at(first)->boot != last->boot) {
    first++;
  }
  return {recording.at(first), last};
}

const std::vector<std::string_view> summary_columns = {"name", "reservation", "alloc_pct", "used_pct", "rdy_pct", "thr_pct", "boost_pct", "stolen_pct", "grant_ps", "deny_ps", "rx_pps", "tx_pps", "p50_us", "p99_us", "lat_max_us", "bill_pct", "net_pct"};

std::vector<const Column*> columns_of_summary(const Interval& interval) {
  std::vector<const Column*> columns;
  for (const std::string_view id : summary_columns) {
    const Column* column = find_column(id, Subject::vm);
    if (interval.now().metered || !column->metered) {
      columns.push_back(column);
    }
  }
  return columns;
}

std::vector<Row> summary_rows(const Interval& interval) {
  auto rows = rows_of(all_views().front(), interval, interval);
  sort_rows(rows, *find_column("used_pct", Subject::vm), false);
  return rows;
}

std::string table_of(const Interval& interval) {
  const auto columns = columns_of_summary(interval);
  std::string out = "<div class=wrap><table><tr>";
  for (const Column* column : columns) {
    out += fmt::format(R"(<th title="{}">{}</th>)", escaped(column->help), escaped(column->title));
  }
  out += "</tr>";
  for (const Row& row : summary_rows(interval)) {
    out += "<tr>";
    for (const Column* column : columns) {
      out += "<td>" + escaped(shown(column->value(row), column->unit, 12)) + "</td>";
    }
    out += "</tr>";
  }
  return out + "</table></div>";
}

std::string time_text(const Sample& sample) { return fmt::format("{:%F %T}", fmt::localtime(static_cast<std::time_t>(sample.real_ns / 1000000000))); }

void add_section(std::string& page, const char* title, const std::string& text, std::initializer_list<std::string> figures) {
  std::string body;
  for (const std::string& figure : figures) {
    body += figure;
  }
  if (!body.empty()) {
    page += fmt::format("<h2>{}</h2><p class=soft>{}</p>{}", title, text, body);
  }
}

}  // namespace

std::string html_of(Recording& recording) {
  const auto points = points_of(recording);
  const Interval all = whole(recording);
  const SamplePtr first = recording.at(0), end = recording.at(recording.size() - 1);
  const Sample& last = *end;
  std::string page = fmt::format(R"(<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width"><title>sched_spare: {0}</title><style>{1})", escaped(recording.file()), page_style);
  for (std::size_t i = 0; i < plot_colors; i++) {
    page += fmt::format(".c{0}{{--c:var(--c{0})}}", i);
  }
  page += fmt::format("</style><main><h1>{}</h1><p class=soft>{} to {}, {} samples; {} VMs and {} CPUs at its end. {}{}</p>", escaped(recording.file()), time_text(*first), time_text(last),
                      recording.size(), rows_of(all_views().front(), all, all).size(), last.cpus.size(), escaped(last.state), last.metered ? "" : ". No meter ran: the bill is not in it");
  auto stacked = [](Plot plot) {
    plot.stacked = true;
    return svg_of(plot);
  };
  add_section(page, "The host's CPUs", "Per cent of one CPU, all CPUs together.",
              {stacked(of_sums(points, Subject::cpu, {{"vms_pct", "VMs"}, {"host_pct", "host"}, {"net_pct", "host's network"}, {"rt_pct", "real-time, deadline"}}, "Who has had them", "% of a CPU"))});
  add_section(page, "VMs", "What each VM has had, was given, and waited for.",
              {stacked(of_vms(points, last.metered ? "bill_pct" : "used_pct", last.metered ? "The bill: all that the host spent for each VM" : "CPU that each VM has had", "% of a CPU", true)),
               stacked(of_sums(points, Subject::vm, {{"guest_pct", "guest"}, {"vcpu_pct", "vCPU, on the host"}, {"vhost_pct", "vhost"}, {"emulator_pct", "emulator"}, {"iothread_pct", "iothreads"}, {"kthread_pct", "kernel threads"}, {"softirq_rx_pct", "softirq, to it"}, {"softirq_tx_pct", "softirq, from it"}, {"irq_pct", "hard interrupts"}}, "The bill by kind, all VMs", "% of a CPU")),
               svg_of(of_vms(points, "rdy_pct", "Ready and not running, throttled or not", "% of a CPU", false)), svg_of(of_vms(points, "thr_pct", "Throttled: the budget was used up", "% of a CPU", false)),
               svg_of(of_vms(points, "stolen_pct", "Stolen by real-time and deadline threads", "% of a CPU", false))});
  add_section(page, "Packets", "Packets that find their VM's budget spent wake it in a spare.",
              {svg_of(of_latency(points)), latency_bars(points),
               svg_of(of_sums(points, Subject::vm, {{"grant_ps", "served by a spare"}, {"block_ps", "found all spares taken"}, {"deny_ps", "denied"}}, "Spares, all VMs", "1/s")), svg_of(of_vms(points, "rx_pps", "Packets to each VM", "1/s", false))});
  add_section(page, "Debt", "What VMs' next budgets owe.", {svg_of(of_vms(points, "debt_ms", "Debt", "ms", false))});
  page += "<h2>Over all of it</h2><p class=soft>Means over the time since the host was booted, as far as it is in the recording. Upper limits of buckets for P50 and P99; MAX since the VM's cgroup is there.</p>" + table_of(all);
  return page + "</main></html>\n";
}

std::string summary_of(Recording& recording) {
  const Interval all = whole(recording);
  const Glyphs glyphs = Glyphs::of_locale();
  std::string text = fmt::format("{}: {} samples, {} to {}\n{}\n", recording.file(), recording.size(), time_text(*recording.at(0)), time_text(all.now()), headline(all).back());
  for (const Line& line : draw_table(all_views().front(), columns_of_summary(all), summary_rows(all), Shares::percent, glyphs)) {
    text += line.text() + "\n";
  }
  return text;
}

spare::Result<void> run_report(const std::string& file, const std::string& html) {
  if (is_recording(html)) {
    return spare::Error{html + " is a recording: it is left as it is; give the page another name"};
  }
  auto recording = Recording::open(file);
  if (!recording) {
    return recording.error();
  }
  const std::string text = html.empty() ? summary_of(*recording) : html_of(*recording);
  std::FILE* const out = html.empty() ? stdout : std::fopen(html.c_str(), "we");
  if (out == nullptr) {
    return spare::errno_error(html);
  }
  bool written = std::fwrite(text.data(), 1, text.size(), out) == text.size() && std::fflush(out) == 0;
  written = (out == stdout || std::fclose(out) == 0) && written;
  return written ? spare::Result<void>() : spare::errno_error(html.empty() ? "standard output" : html);
}

}  // namespace sparectl::top

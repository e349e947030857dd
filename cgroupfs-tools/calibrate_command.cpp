// SPDX-License-Identifier: GPL-2.0-only
#include "calibrate_command.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "calibrate/calibrate.hpp"

namespace sparectl {
namespace {

using json = nlohmann::ordered_json;
using spare::Calibrated;
using spare::Calibration;

// Two rounds of the same that differ by more, or a load that is further off, are not to be relied on.
constexpr double apart_most = 0.1, off_most = 0.2;

double worst(const std::vector<double>& off) {
  double most = 0;
  for (const double part : off) {
    most = std::max(most, std::abs(part));
  }
  return most;
}

double mean(const std::vector<double>& off) {
  double sum = 0;
  for (const double part : off) {
    sum += std::abs(part);
  }
  return sum / static_cast<double>(off.size());
}

json as_json(const Calibrated& model) {
  json one = {{"error_worst", worst(model.off)}, {"error_mean", mean(model.off)}, {"distinct", model.fit.distinct}};
  for (std::size_t i = 0; i < model.fit.each.size(); i++) {
    one[fmt::format("{}_ns", spare::amount_names[i])] = model.fit.each[i];
  }
  return one;
}

json as_json(const Calibration& c) {
  json all = {{"packets", as_json(c.packets)}, {"batches", as_json(c.batches)}, {"rounds_apart", c.rounds_apart}, {"loads", json::array()}};
  all["packets"]["weight"] = spare::CostModel::weight(c.packets.fit).value_or(0);
  for (std::size_t i = 0; i < c.measured.size(); i++) {
    const spare::Measured& m = c.measured[i];
    json load = {{"direction", m.load.to_guest ? "rx" : "tx"}, {"bytes", m.load.size}, {"batch", m.load.batch}, {"round", 1 + i / c.loads()}, {"lost", m.lost},
                 {"billed_ns", m.billed_ns}, {"packets_off", c.packets.off[i % c.loads()]}, {"batches_off", c.batches.off[i % c.loads()]}};
    for (std::size_t k = 0; k < m.amounts.size(); k++) {
      load[spare::amount_names[k]] = m.amounts[k];
    }
    all["loads"].push_back(std::move(load));
  }
  return all;
}

// How far to trust it.
std::string trust(const Calibration& c) {
  std::string text = fmt::format("Two rounds of the same differ by at most {:.1f} %.\n", 100 * c.rounds_apart);
  if (c.rounds_apart > apart_most) {
    text += "Something else has used the CPU or changed its speed: try again when less runs.\n";
  }
  if (std::any_of(c.measured.begin(), c.measured.end(), [](const spare::Measured& m) { return m.lost != 0; })) {
    text += "Packets were lost.\n";
  }
  if (!c.batches.fit.distinct) {
    text += "What a packet, a byte and a batch cost by themselves could not be told apart: only their sum is to be believed.\n";
  }
  text += worst(c.batches.off) <= off_most ? "Packets, bytes and batches are a fair second opinion of loads like these" : "Counts are no second opinion of all loads here, see above";
  return text + ", up to 64 KB and 16 packets at once; beyond, it is a guess.\nWhat `spared --meter` bills is measured.\n";
}

std::string as_text(const Calibration& c) {
  std::string text = "What a packet of a VM costs this host: softirq, bridge, tap and vhost-net, without the guest and a NIC's driver.\n\n";
  for (const auto& [title, model] : {std::pair{"by packets (Gupta et al. 2006)", &c.packets}, {"by packets, bytes and batches", &c.batches}}) {
    text += fmt::format("{:32}", title);
    for (std::size_t i = 0; i < model->fit.each.size(); i++) {
      text += fmt::format("{}{} {:.{}f} ns", i == 0 ? "" : ", ", spare::amount_names[i], model->fit.each[i], model->fit.each[i] < 10 ? 2 : 0);
    }
    text += '\n';
  }
  text += fmt::format("{:32}{:.2f}\n\nHow far the fit of all other loads is off each:\n\n  {:9} {:>6} {:>8} {:>11} {:>9} {:>9}\n", "weight, sent : received",
                      spare::CostModel::weight(c.packets.fit).value_or(0), "DIRECTION", "BYTES", "AT ONCE", "NS/PACKET", "PACKETS", "BATCHES");
  for (std::size_t i = 0; i < c.loads(); i++) {
    const spare::Measured& m = c.measured[i];
    text += fmt::format("  {:9} {:6} {:8} {:11.0f} {:+7.1f} % {:+7.1f} %\n", m.load.to_guest ? "received" : "sent", m.load.size, m.load.batch,
                        (m.each_ns() + c.measured[i + c.loads()].each_ns()) / 2, 100 * c.packets.off[i], 100 * c.batches.off[i]);
  }
  return text + fmt::format("  {:37} {:7.1f} % {:7.1f} %\n\n", "mean", 100 * mean(c.packets.off), 100 * mean(c.batches.off)) + trust(c);
}

}  // namespace

CalibrateCommand::CalibrateCommand(cli::App& app, const spare::Roots& roots, std::function<spare::Result<void>()>& action) {
  cli::App* command = app.add_subcommand("calibrate", "find out what packets of guests cost this host: takes a minute, needs no guest, changes nothing");
  command->fallthrough(false);
  command->add_flag("--json", json_, "for programs");
  command->callback([this, &roots, &action] {
    action = [this, &roots]() -> spare::Result<void> {
      fmt::print(stderr, "{}", json_ ? "" : "This takes a minute.\n\n");
      const auto found = spare::calibrate(roots);
      if (!found) {
        return found.error();
      }
      fmt::print("{}", json_ ? as_json(*found).dump() + "\n" : as_text(*found));
      return {};
    };
  });
}

}  // namespace sparectl

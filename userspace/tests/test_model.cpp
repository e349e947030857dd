// SPDX-License-Identifier: GPL-2.0-only
//
// ACC-3: least squares against a slow oracle, and the models of what packets cost.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "calibrate/calibrate.hpp"
#include "least_squares.hpp"
#include "meter/cost_model.hpp"
#include "meter/print.hpp"

namespace {

using Columns = std::vector<std::vector<double>>;  // by observation

spare::LeastSquares sums_of(const Columns& amounts, const std::vector<double>& costs) {
  spare::LeastSquares sums(amounts.front().size());
  for (std::size_t i = 0; i < costs.size(); i++) {
    sums.add(amounts[i], costs[i]);
  }
  return sums;
}

// What is left of the costs' squares, of 1.
long double left_of(const Columns& amounts, const std::vector<double>& costs, const std::vector<double>& each) {
  long double sum = 0, all = 0;
  for (std::size_t i = 0; i < costs.size(); i++) {
    long double off = costs[i];
    for (std::size_t k = 0; k < each.size(); k++) {
      off -= static_cast<long double>(amounts[i][k]) * each[k];
    }
    sum += off * off;
    all += static_cast<long double>(costs[i]) * costs[i];
  }
  return sum / all;
}

// Least squares without a bound, of the columns in `chosen`, by Gauss; the others are 0. Empty: it has no one solution.
std::vector<double> unbounded(const Columns& amounts, const std::vector<double>& costs, unsigned chosen) {
  const std::size_t n = amounts.front().size();
  std::vector<std::vector<long double>> a(n, std::vector<long double>(n + 1));
  for (std::size_t r = 0; r < n; r++) {
    a[r][r] = (chosen >> r & 1) != 0 ? 0 : 1;
    for (std::size_t i = 0; i < costs.size() && (chosen >> r & 1) != 0; i++) {
      for (std::size_t c = 0; c < n; c++) {
        a[r][c] += (chosen >> c & 1) != 0 ? static_cast<long double>(amounts[i][r]) * amounts[i][c] : 0;
      }
      a[r][n] += static_cast<long double>(amounts[i][r]) * costs[i];
    }
  }
  for (std::size_t k = 0; k < n; k++) {
    std::size_t most = k;
    for (std::size_t r = k; r < n; r++) {
      most = std::abs(a[r][k]) > std::abs(a[most][k]) ? r : most;
    }
    std::swap(a[k], a[most]);
    if (a[k][k] == 0) {
      return {};
    }
    for (std::size_t r = 0; r < n; r++) {
      const long double factor = r == k ? 0 : a[r][k] / a[k][k];
      for (std::size_t c = k; c <= n; c++) {
        a[r][c] -= factor * a[k][c];
      }
    }
  }
  std::vector<double> each;
  for (std::size_t k = 0; k < n; k++) {
    each.push_back(static_cast<double>(a[k][n] / a[k][k]));
  }
  return each;
}

// The oracle: where no cost is negative the best is, of the columns that are not 0, the best without that bound. All choices of these are tried.
long double least_left(const Columns& amounts, const std::vector<double>& costs) {
  long double least = 1;
  for (unsigned chosen = 1; chosen < 1U << amounts.front().size(); chosen++) {
    const auto each = unbounded(amounts, costs, chosen);
    if (!each.empty() && std::all_of(each.begin(), each.end(), [](double cost) { return cost >= 0; })) {
      least = std::min(least, left_of(amounts, costs, each));
    }
  }
  return least;
}

}  // namespace

TEST_CASE("ACC-3: least squares: as good as the best of all choices of columns") {
  std::mt19937 random(11);
  std::uniform_real_distribution<double> amount(0, 1000), cost(-100, 200), noise(-1, 1);
  int bounded = 0;
  for (int round = 0; round < 200; round++) {
    const std::size_t columns = 1 + random() % 6, rows = columns + random() % 40;
    const std::vector<double> units = {1, 1e-3, 1, 1e6, 1, 1};
    std::vector<double> truth(columns);
    for (double& each : truth) {
      each = cost(random);  // some negative: their bound is met
    }
    Columns amounts(rows, std::vector<double>(columns));
    std::vector<double> costs;
    for (auto& row : amounts) {
      double sum = 1e-6;
      for (std::size_t k = 0; k < columns; k++) {
        row[k] = amount(random);
        sum += row[k] * truth[k] * (1 + 0.3 * noise(random));
        row[k] *= units[k];
      }
      costs.push_back(std::abs(sum));
    }
    const auto fit = sums_of(amounts, costs).fit();
    REQUIRE(fit);
    const long double wanted = least_left(amounts, costs), got = left_of(amounts, costs, fit->each);
    INFO("round " << round << ", " << columns << " columns, " << rows << " rows: " << static_cast<double>(got) << ", wanted " << static_cast<double>(wanted));
    CHECK(static_cast<double>(got) <= static_cast<double>(wanted) * (1 + 1e-6) + 1e-9);
    CHECK(std::all_of(fit->each.begin(), fit->each.end(), [](double each) { return each >= 0; }));
    bounded += static_cast<int>(std::count(fit->each.begin(), fit->each.end(), 0.0));
  }
  CHECK(bounded > 50);
}

TEST_CASE("ACC-3: least squares: amounts that went together are not told apart, and it says so") {
  spare::LeastSquares same(2), nearly(2), unseen(2), apart(2);
  for (int i = 1; i < 100; i++) {
    const double n = i;
    same.add(std::vector{n, 1472 * n}, 5000 * n);
    nearly.add(std::vector{n, 1472 * n * (1 + 1e-6 * (i % 2))}, 5000 * n);
    unseen.add(std::vector{n, 0.0}, 5000 * n);
    apart.add(std::vector{n, 64 * n + 1000 * (i % 7)}, 5000 * n);
  }
  for (const auto& sums : {same, nearly, unseen}) {
    const auto fit = sums.fit();
    REQUIRE(fit);
    CHECK_FALSE(fit->distinct);
  }
  CHECK(apart.fit()->distinct);
  CHECK(std::abs(same.fit()->cost(std::vector<double>{10, 14720}) - 50000) < 1);
}

TEST_CASE("ACC-3: least squares: without observations nothing is said, and what has faded counts no more") {
  spare::LeastSquares sums(2);
  CHECK_FALSE(sums.fit());
  sums.add(std::vector<double>{0, 0}, 10);
  CHECK_FALSE(sums.fit());
  sums.add(std::vector<double>{3, 0}, 0);
  CHECK_FALSE(sums.fit());
  sums.add(std::vector<double>{1, 0}, 100);
  CHECK(sums.fit());
  sums.fade(0);
  CHECK_FALSE(sums.fit());
  for (int i = 0; i < 200; i++) {
    sums.fade(0.9);
    sums.add(std::vector<double>{1, 0}, i < 100 ? 100 : 300);
  }
  CHECK(std::abs(sums.fit()->each[0] - 300) < 0.1);
}

namespace {

constexpr std::array<double, 6> true_ns = {2000, 4000, 2, 1, 3000, 6000};

double true_cost(const spare::PacketAmounts& amounts) { return std::inner_product(amounts.begin(), amounts.end(), true_ns.begin(), 0.0); }

// A second of a VM that sends and receives in batches of 1 to `batch` packets of 64 to 1500 bytes.
spare::PacketAmounts some_second(std::mt19937& random, unsigned batch) {
  spare::PacketAmounts amounts{};
  amounts[spare::packets_sent] = random() % 5000;
  amounts[spare::packets_received] = 1 + random() % 5000;
  amounts[spare::bytes_sent] = amounts[spare::packets_sent] * (64 + random() % 1437);
  amounts[spare::bytes_received] = amounts[spare::packets_received] * (64 + random() % 1437);
  amounts[spare::softirqs] = amounts[spare::packets_received] / (1 + random() % batch);
  amounts[spare::vhost_runs] = amounts[spare::softirqs] + amounts[spare::packets_sent] / (1 + random() % batch);
  return amounts;
}

}  // namespace

TEST_CASE("ACC-3: the model finds what each costs, and what it is off") {
  spare::CostModel model;
  std::mt19937 random(3);
  std::uniform_real_distribution<double> noise(0.95, 1.05);
  model.fit(1);
  const auto& [packets, batches] = model.models();
  CHECK_FALSE(packets.fit);
  CHECK_FALSE(model.weight());
  for (int i = 0; i < 2000; i++) {
    const auto amounts = some_second(random, 8);
    model.add(amounts, true_cost(amounts) * noise(random));
    model.add({}, 1e9);     // it had no packets
    model.add(amounts, 0);  // nor a bill
    CHECK(batches.error().has_value() == (i > 0));
    model.fit(1);
  }
  REQUIRE(packets.fit);
  REQUIRE(batches.fit);
  CHECK(batches.fit->distinct);
  for (std::size_t k = 0; k < true_ns.size(); k++) {
    INFO(spare::amount_names[k]);
    CHECK(std::abs(batches.fit->each[k] / true_ns[k] - 1) < 0.05);
  }
  // Of noise that is even up to 5 % the mean is 2.5 %. The paper's count sees neither bytes nor batches.
  CHECK(std::abs(*batches.error() - 0.025) < 0.003);
  CHECK(*packets.error() > 0.1);
  CHECK(std::abs(*model.weight() - 0.6) < 0.2);
  const auto json = spare::as_json({}, {}, &model);
  for (const char* key : {R"("model":{"packets":{"error":0.)", R"("received_byte_ns":)", R"("vhost_run_ns":)", R"("weight":0.)"}) {
    INFO(json);
    CHECK(json.find(key) != std::string::npos);
  }
  model.fit(0);
  CHECK_FALSE(batches.error());
}

TEST_CASE("ACC-3: one direction alone gives no weight; batches of one size are not told from packets") {
  spare::CostModel sends, hardly, ones;
  std::mt19937 random(4);
  for (unsigned i = 1; i < 50; i++) {
    spare::PacketAmounts amounts = some_second(random, 8);
    amounts[spare::packets_received] = amounts[spare::bytes_received] = amounts[spare::softirqs] = 0;
    sends.add(amounts, true_cost(amounts));
    amounts[spare::packets_received] = random() % 3;
    hardly.add(amounts, true_cost(amounts));
    amounts = some_second(random, 1);
    ones.add(amounts, true_cost(amounts));
    sends.fit(1);
    hardly.fit(1);
    ones.fit(1);
  }
  CHECK_FALSE(sends.weight());
  CHECK_FALSE(hardly.weight());
  CHECK_FALSE(sends.models()[0].fit->distinct);
  CHECK_FALSE(sends.models()[1].fit->distinct);
  CHECK(ones.weight());
  CHECK(ones.models()[0].fit->distinct);
  CHECK_FALSE(ones.models()[1].fit->distinct);
  CHECK(*ones.models()[1].error() < 0.05);
}

namespace {

// What a host would bill whose second round takes so much more.
std::vector<spare::Measured> measured(double more) {
  std::vector<spare::Measured> all;
  for (const double factor : {1.0, 1 + more}) {
    for (const spare::Load& load : spare::calibration_loads()) {
      spare::Measured m{load};
      const double n = load.batches * load.batch;
      m.amounts[load.to_guest ? spare::packets_received : spare::packets_sent] = n;
      m.amounts[load.to_guest ? spare::bytes_received : spare::bytes_sent] = n * static_cast<double>(load.size + 42);
      m.amounts[spare::softirqs] = load.to_guest ? load.batches : 0;
      m.amounts[spare::vhost_runs] = load.batches;
      m.billed_ns = true_cost(m.amounts) * factor;
      all.push_back(m);
    }
  }
  return all;
}

}  // namespace

TEST_CASE("ACC-3: calibration: finds what each costs, and how far to trust that") {
  auto loads = measured(0);
  const auto exact = spare::calibrate_from(loads);
  REQUIRE(exact);
  CHECK(exact->batches.fit.distinct);
  for (std::size_t k = 0; k < true_ns.size(); k++) {
    CHECK(std::abs(exact->batches.fit.each[k] / true_ns[k] - 1) < 1e-3);
  }
  REQUIRE(exact->batches.off.size() == spare::calibration_loads().size());
  for (const double off : exact->batches.off) {
    CHECK(std::abs(off) < 1e-3);
  }
  CHECK(*std::max_element(exact->packets.off.begin(), exact->packets.off.end()) > 0.2);
  CHECK(exact->rounds_apart == 0);
  CHECK(std::abs(spare::calibrate_from(measured(0.25))->rounds_apart - 0.2) < 1e-9);
  // A load that costs a tenth more than the others say is a tenth off, and too little.
  loads[3].billed_ns *= 1.1;
  loads[3 + loads.size() / 2].billed_ns *= 1.1;
  CHECK(std::abs(spare::calibrate_from(loads)->batches.off[3] - (1 / 1.1 - 1)) < 1e-3);
}

TEST_CASE("ACC-3: calibration: loads for which nothing was billed, or nothing came, are refused") {
  auto some = measured(0);
  some.front().billed_ns = 0;
  CHECK_FALSE(spare::calibrate_from(some));
  some = measured(0);
  some.front().amounts = {};
  CHECK_FALSE(spare::calibrate_from(some));
  CHECK_FALSE(spare::calibrate_from({}));
}

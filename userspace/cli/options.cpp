// SPDX-License-Identifier: GPL-2.0-only
#include "cli/options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <numeric>
#include <utility>

namespace cli {

Check::Check(const CLI::Validator& validator) : validator_(std::make_shared<CLI::Validator>(validator)) {}

Check Range(int least, int most) { return Check(CLI::Range(least, most)); }
Check Range(unsigned least, unsigned most) { return Check(CLI::Range(least, most)); }
Check Range(double least, double most) { return Check(CLI::Range(least, most)); }
Check IsMember(const std::vector<std::string>& values) { return Check(CLI::IsMember(values)); }
Check PositiveNumber() { return Check(CLI::PositiveNumber); }
Check NonNegativeNumber() { return Check(CLI::NonNegativeNumber); }

Option* Option::required() {
  option_.required();
  return this;
}

Option* Option::capture_default_str() {
  option_.capture_default_str();
  return this;
}

Option* Option::check(const Check& check) {
  option_.check(*check.validator_);
  return this;
}

Option* Option::type_name(const std::string& name) {
  option_.type_name(name);
  return this;
}

Option* Option::envname(const std::string& name) {
  option_.envname(name);
  return this;
}

Option* Option::delimiter(char between) {
  option_.delimiter(between);
  return this;
}

Option* Option::allow_extra_args(bool allow) {
  option_.allow_extra_args(allow);
  return this;
}

Option* Option::needs(Option* other) {
  option_.needs(&other->option_);
  return this;
}
Option* Option::excludes(Option* other) {
  option_.excludes(&other->option_);
  return this;
}

App::App(const std::string& description, const std::string& name) : own_(std::make_unique<CLI::App>(description, name)), app_(*own_) {}
App::App(CLI::App& app) : app_(app) {}
App::~App() = default;

Option* App::keep(CLI::Option* option) { return options_.emplace_back(std::make_unique<Option>(*option)).get(); }

template <Value T>
Option* App::add_option(const std::string& name, T& value, const std::string& help) {
  return keep(app_.add_option(name, value, help));
}
template Option* App::add_option(const std::string&, std::string&, const std::string&);
template Option* App::add_option(const std::string&, std::vector<std::string>&, const std::string&);
template Option* App::add_option(const std::string&, int&, const std::string&);
template Option* App::add_option(const std::string&, unsigned&, const std::string&);
template Option* App::add_option(const std::string&, std::uint64_t&, const std::string&);
template Option* App::add_option(const std::string&, double&, const std::string&);
template Option* App::add_option(const std::string&, std::optional<std::string>&, const std::string&);
template Option* App::add_option(const std::string&, std::optional<std::vector<std::string>>&, const std::string&);
template Option* App::add_option(const std::string&, std::optional<unsigned>&, const std::string&);

template <Flag T>
Option* App::add_flag(const std::string& name, T& value, const std::string& help) {
  return keep(app_.add_flag(name, value, help));
}
template Option* App::add_flag(const std::string&, bool&, const std::string&);
template Option* App::add_flag(const std::string&, std::optional<bool>&, const std::string&);

void App::set_version_flag(const std::string& name, const std::string& version) { app_.set_version_flag(name, version); }
void App::usage(const std::string& text) { app_.usage(text); }

App* App::add_subcommand(const std::string& name, const std::string& help) {
  return subcommands_.emplace_back(std::make_unique<App>(*app_.add_subcommand(name, help))).get();
}

void App::require_subcommand(std::size_t number) { app_.require_subcommand(static_cast<int>(number)); }
void App::require_subcommand(std::size_t least, std::size_t most) { app_.require_subcommand(least, most); }
void App::fallthrough(bool value) { app_.fallthrough(value); }
void App::callback(std::function<void()> function) { app_.callback(std::move(function)); }
bool App::has_subcommand() const { return !app_.get_subcommands().empty(); }

namespace {

// Letters to change, add or leave out to make one of the other (Levenshtein 1966).
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); i++) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); j++) {
      const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, changed}));
    }
  }
  return row.back();
}

// The subcommand that a word is like; empty: none, or it is one.
std::string nearest(const CLI::App& app, const std::string& word) {
  std::string best;
  std::size_t least = 3;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    const std::size_t far = distance(word, command->get_name());
    if (far < least) {
      least = far;
      best = command->get_name();
    }
  }
  return least == 0 ? std::string() : best;
}

}  // namespace

std::optional<int> App::parse(int argc, char** argv) {
  try {
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app_.exit(error);
    const std::string meant = status != 0 && argc > 1 && argv[1][0] != '-' ? nearest(app_, argv[1]) : std::string();
    if (!meant.empty()) {
      std::fprintf(stderr, "There is no command '%s'; did you mean '%s'?\n", argv[1], meant.c_str());
    }
    return status;
  }
  return std::nullopt;
}

std::optional<int> App::parse(std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes a vector from its end
  try {
    app_.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    return app_.exit(error);
  }
  return std::nullopt;
}

}  // namespace cli

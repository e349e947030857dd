// SPDX-License-Identifier: GPL-2.0-only
//
// Options of a command line: CLI11's, under its own names, without its headers, which cost each program that reads them 2 s of
// compilation. What is not here is not used; CLI11's documentation says what each does.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace cli {

// What a value must be.
class Check {
 public:
  explicit Check(const CLI::Validator& validator);

 private:
  friend class Option;
  std::shared_ptr<const CLI::Validator> validator_;
};
Check Range(int least, int most);
Check Range(unsigned least, unsigned most);
Check Range(double least, double most);
Check IsMember(const std::vector<std::string>& values);
Check PositiveNumber();
Check NonNegativeNumber();

class Option {
 public:
  explicit Option(CLI::Option& option) : option_(option) {}
  Option* required();
  Option* capture_default_str();  // the help says what the value was before
  Option* check(const Check& check);
  Option* type_name(const std::string& name);
  Option* envname(const std::string& name);
  Option* delimiter(char between);
  Option* allow_extra_args(bool allow);
  Option* needs(Option* other);
  Option* excludes(Option* other);

 private:
  CLI::Option& option_;
};

// What an option's value may be kept in.
template <typename T, typename... Of>
concept one_of = (std::same_as<T, Of> || ...);
template <typename T>
concept Value = one_of<T, std::string, std::vector<std::string>, int, unsigned, std::uint64_t, double, std::optional<std::string>,
                       std::optional<std::vector<std::string>>, std::optional<unsigned>>;
template <typename T>
concept Flag = one_of<T, bool, std::optional<bool>>;

class App {
 public:
  explicit App(const std::string& description, const std::string& name = "");
  explicit App(CLI::App& app);  // a subcommand
  App(const App&) = delete;
  App& operator=(const App&) = delete;
  ~App();

  template <Value T>
  Option* add_option(const std::string& name, T& value, const std::string& help);
  template <Flag T>
  Option* add_flag(const std::string& name, T& value, const std::string& help);
  void set_version_flag(const std::string& name, const std::string& version);
  void usage(const std::string& text);

  App* add_subcommand(const std::string& name, const std::string& help);
  void require_subcommand(std::size_t number);
  void require_subcommand(std::size_t least, std::size_t most);
  void fallthrough(bool value);
  void callback(std::function<void()> function);
  [[nodiscard]] bool has_subcommand() const;  // one was given

  // A number: help, version or what is wrong was printed (of an unknown subcommand also which one it is like); end with it. 0 unless
  // something is wrong.
  [[nodiscard]] std::optional<int> parse(int argc, char** argv);
  [[nodiscard]] std::optional<int> parse(std::vector<std::string> arguments);

 private:
  Option* keep(CLI::Option* option);

  std::unique_ptr<CLI::App> own_;  // null: its parent has it
  CLI::App& app_;
  std::vector<std::unique_ptr<Option>> options_;
  std::vector<std::unique_ptr<App>> subcommands_;
};

}  // namespace cli

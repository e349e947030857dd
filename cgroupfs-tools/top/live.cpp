// SPDX-License-Identifier: GPL-2.0-only
#include "top/live.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>

#include "top/reader.hpp"
#include "top/recording.hpp"
#include "top/screen.hpp"
#include "top/terminal.hpp"
#include "util/signals.hpp"

namespace sparectl::top {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::duration;
using std::chrono::milliseconds;

// The second sample comes soon after the first: there are no rates before.
constexpr double first_delay_s = 0.2;

// Where samples come from, and when.
class Feed {
 public:
  virtual ~Feed() = default;
  // The next one, if it is due.
  virtual void tick(History& history, Ui& ui) = 0;
  // When it is.
  [[nodiscard]] virtual Clock::time_point due() const = 0;
  virtual std::vector<ThreadRow> threads(const std::string&) { return {}; }
  [[nodiscard]] virtual std::string note() const { return {}; }
};

class HostFeed : public Feed {
 public:
  explicit HostFeed(Reader reader) : reader_(std::move(reader)) {}
  void tick(History& history, Ui& ui) override {
    const auto now = Clock::now();
    if (now < due_) {
      return;
    }
    const bool first = history.last() == nullptr;
    history.add(std::make_shared<const Sample>(reader_.read()));
    const auto delay = std::chrono::duration_cast<Clock::duration>(duration<double>(first ? std::min(first_delay_s, ui.delay_s) : ui.delay_s));
    // In step, but none is made up for.
    due_ = due_ + delay > now ? due_ + delay : now + delay;
  }
  [[nodiscard]] Clock::time_point due() const override { return due_; }
  std::vector<ThreadRow> threads(const std::string& path) override { return reader_.threads_of(path); }

 private:
  Reader reader_;
  Clock::time_point due_ = Clock::now();
};

class ReplayFeed : public Feed {
 public:
  explicit ReplayFeed(Recording recording) : recording_(std::move(recording)) {}
  void tick(History& history, Ui& ui) override {
    const auto now = Clock::now();
    if (ui.step != 0) {
      ui.frozen = true;
      go_to(static_cast<long>(at_) + std::exchange(ui.step, 0), history);
    } else if (!ui.frozen && now >= due_) {
      go_to(history.last() == nullptr ? std::min(1L, static_cast<long>(recording_.size()) - 1) : static_cast<long>(at_) + 1, history);
    }
    if (now >= due_) {
      due_ = now + std::chrono::duration_cast<Clock::duration>(duration<double>(ui.delay_s));
    }
  }
  [[nodiscard]] Clock::time_point due() const override { return due_; }
  [[nodiscard]] std::string note() const override {
    return "sample " + std::to_string(at_ + 1) + " of " + std::to_string(recording_.size()) + (at_ + 1 == recording_.size() ? " (the last)" : "") +
           "   . next  , back  ] [ by 60  space goes on  q quit";
  }

 private:
  void go_to(long to, History& history) {
    const auto next = static_cast<std::size_t>(std::clamp(to, 0L, static_cast<long>(recording_.size()) - 1));
    if (next == at_ && history.last() != nullptr) {
      return;
    }
    if (next != at_ + 1 || history.last() == nullptr) {
      // As far back as the long interval reaches.
      history.clear();
      std::size_t from = next;
      const auto end = recording_.at(next);
      while (from > 0 && next - from < 200) {
        const auto one = recording_.at(from - 1);
        if (one->boot != end->boot || end->monotonic_ns - one->monotonic_ns > static_cast<std::uint64_t>(History::long_s * 1e9)) {
          break;
        }
        from--;
      }
      from -= from == next && from > 0 ? 1 : 0;
      for (std::size_t i = from; i < next; i++) {
        history.add(recording_.at(i));
      }
    }
    history.add(recording_.at(next));
    at_ = next;
  }

  Recording recording_;
  std::size_t at_ = 0;
  Clock::time_point due_ = Clock::now();
};

class Live {
 public:
  Live(Terminal terminal, Ui ui, Feed& feed) : terminal_(std::move(terminal)), ui_(std::move(ui)), feed_(feed) {}

  void run() {
    const spare::Fd signals = spare::open_signals({SIGTERM, SIGINT, SIGHUP});
    bool changed = true;
    while (!ui_.quit) {
      if (!ui_.frozen || ui_.step != 0) {
        const SamplePtr before = history_.last();
        feed_.tick(history_, ui_);
        if (history_.last() != before) {
          last_ = history_.short_interval();
          longer_ = history_.long_interval();
          changed = true;
        }
      }
      if (changed) {
        show();
      }
      changed = wait(signals);
    }
  }

 private:
  void show() {
    const bool detail = ui_.panel == Panel::detail && ui_.view->subject == Subject::vm && !shown_.keys.empty();
    const auto threads = detail ? feed_.threads(shown_.keys[selected_row(ui_, shown_.keys)]) : std::vector<ThreadRow>();
    Screen screen = draw(ui_, last_, longer_, threads, terminal_.width(), terminal_.height(), terminal_.glyphs(), feed_.note());
    shown_ = std::move(screen.shown);
    shown_.interval = &last_;
    terminal_.show(screen.grid);
  }

  // Until the next sample, a key, or another size. Whether something has to be shown.
  bool wait(const spare::Fd& signals) {
    std::array<pollfd, 2> fds = {{{STDIN_FILENO, POLLIN, 0}, {signals.get(), POLLIN, 0}}};
    const auto left = std::chrono::ceil<milliseconds>(feed_.due() - Clock::now()).count();
    const int ready = ::poll(fds.data(), fds.size(), ui_.frozen ? -1 : static_cast<int>(std::clamp<long>(left, 0, 60000)));
    if (ready > 0 && (fds[1].revents != 0 || ((fds[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0))) {
      ui_.quit = true;
      return false;
    }
    bool pressed = ready < 0;  // SIGWINCH, which curses makes a key of
    bool any = false;
    while (const auto key = terminal_.key()) {
      any = true;
      press(ui_, *key, shown_);
    }
    if (ready > 0 && (fds[0].revents & POLLIN) != 0 && !any) {
      ui_.quit = true;  // its end
    }
    return pressed || any;
  }

  Terminal terminal_;
  Ui ui_;
  Feed& feed_;
  History history_;
  Interval last_, longer_;
  Shown shown_;
};

spare::Result<Ui> ui_of(const LiveOptions& options) {
  Ui ui;
  const View* view = find_view(options.view);
  if (view == nullptr) {
    return spare::Error{"there is no view '" + options.view + "' (sparectl top --columns lists them)"};
  }
  ui.view = view;
  if (!options.sort.empty()) {
    ui.sorted_by = find_column(options.sort, view->subject);
    if (ui.sorted_by == nullptr) {
      return spare::Error{"there is no column '" + options.sort + "' to sort by (sparectl top --columns lists them)"};
    }
  }
  ui.filter = options.filter;
  ui.delay_s = options.delay_s;
  ui.replay = !options.replay.empty();
  return ui;
}

}  // namespace

spare::Result<void> run_live(const spare::Roots& roots, const LiveOptions& options) {
  auto ui = ui_of(options);
  if (!ui) {
    return ui.error();
  }
  std::unique_ptr<Feed> feed;
  if (options.replay.empty()) {
    auto reader = Reader::open(roots);
    if (!reader) {
      return reader.error();
    }
    feed = std::make_unique<HostFeed>(std::move(*reader));
  } else {
    auto recording = Recording::open(options.replay);
    if (!recording) {
      return recording.error();
    }
    feed = std::make_unique<ReplayFeed>(std::move(*recording));
  }
  auto terminal = Terminal::open(options.color);
  if (!terminal) {
    return terminal.error();
  }
  Live(std::move(*terminal), std::move(*ui), *feed).run();
  return {};
}

}  // namespace sparectl::top
